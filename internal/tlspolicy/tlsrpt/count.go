package tlsrpt

import (
	"slices"
	"strings"

	"postel/internal/mail"
)

// Session is what became of the TLS of one session with a host of a domain, or of the attempt to have one.
type Session struct {
	Domain  mail.Domain // that the mail was for
	Policy  Policy
	Failure Failure // without a Result it went well
}

// Bounds of what is kept of one domain and day.
const (
	keptPolicies = 32
	keptFailures = 100 // in all; what is beyond them is in the summary alone
	keptLines    = 64  // of a policy
	keptText     = 512 // octets of one text that others wrote
)

// Counts are the sessions of one domain, by policy.
type Counts []PolicyReport

// Note counts a session; false when there is no room for another policy. The counts share nothing with it.
func (c *Counts) Note(s Session) bool {
	one := PolicyReport{Policy: s.Policy, Summary: Summary{Successes: 1}}
	if s.Failure.Result != "" {
		s.Failure.Sessions = 1
		one.Summary, one.Failures = Summary{Failures: 1}, []Failure{s.Failure}
	}
	return c.add(one)
}

// Add counts what others counted; false when there was not room for every policy.
func (c *Counts) Add(more Counts) bool {
	all := true
	for _, p := range more {
		all = c.add(p) && all
	}
	return all
}

func (c *Counts) add(p PolicyReport) bool {
	policy := p.Policy.bounded()
	i := c.find(policy)
	if i < 0 {
		if len(*c) >= keptPolicies {
			return false
		}
		i = len(*c)
		*c = append(*c, PolicyReport{Policy: policy.clone()})
	}
	at := &(*c)[i]
	at.Summary.Successes += p.Summary.Successes
	at.Summary.Failures += p.Summary.Failures
	for _, f := range p.Failures {
		f = f.bounded()
		if j := at.find(f); j >= 0 {
			at.Failures[j].Sessions += f.Sessions
		} else if c.failures() < keptFailures {
			at.Failures = append(at.Failures, f)
		}
	}
	return true
}

// Sub takes away what was reported already.
func (c *Counts) Sub(done Counts) {
	for _, p := range done {
		i := c.find(p.Policy)
		if i < 0 {
			continue
		}
		at := &(*c)[i]
		at.Summary.Successes = max(0, at.Summary.Successes-p.Summary.Successes)
		at.Summary.Failures = max(0, at.Summary.Failures-p.Summary.Failures)
		for _, f := range p.Failures {
			if j := at.find(f); j >= 0 {
				at.Failures[j].Sessions -= f.Sessions
			}
		}
		at.Failures = slices.DeleteFunc(at.Failures, func(f Failure) bool { return f.Sessions <= 0 })
	}
	*c = slices.DeleteFunc(*c, func(p PolicyReport) bool { return p.Summary == Summary{} && len(p.Failures) == 0 })
}

// Total counts the sessions of all policies.
func (c Counts) Total() (s Summary) {
	for _, p := range c {
		s.Successes += p.Summary.Successes
		s.Failures += p.Summary.Failures
	}
	return s
}

func (c Counts) failures() (n int) {
	for _, p := range c {
		n += len(p.Failures)
	}
	return n
}

func (c Counts) find(p Policy) int {
	return slices.IndexFunc(c, func(q PolicyReport) bool {
		return q.Policy.Type == p.Type && q.Policy.Domain == p.Domain && slices.Equal(q.Policy.Strings, p.Strings)
	})
}

func (p *PolicyReport) find(f Failure) int {
	f.Sessions = 0
	return slices.IndexFunc(p.Failures, func(g Failure) bool {
		g.Sessions = 0
		return f == g
	})
}

func (p Policy) clone() Policy {
	p.Strings, p.MX = slices.Clone(p.Strings), slices.Clone(p.MX)
	return p
}

// bounded gives the policy with as much of its text as is kept.
func (p Policy) bounded() Policy {
	long := func(s string) bool { return len(s) > keptText }
	p.Strings, p.MX = p.Strings[:min(len(p.Strings), keptLines)], p.MX[:min(len(p.MX), keptLines)]
	for _, list := range []*Strings{&p.Strings, &p.MX} {
		if slices.ContainsFunc(*list, long) {
			*list = slices.Clone(*list)
			for i, s := range *list {
				(*list)[i] = cut(s)
			}
		}
	}
	return p
}

func (f Failure) bounded() Failure {
	f.Reason = cut(f.Reason)
	return f
}

// cut shortens a text, and makes it one that JSON can hold.
func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), keptText)], "") }
