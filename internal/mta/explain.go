package mta

import (
	"context"
	"errors"

	"postel/internal/mail"
	"postel/internal/mda"
	"postel/internal/queue"
	"postel/internal/route"
	"postel/internal/tlspolicy"
)

// Way is where mail goes from here, and why. Nothing is sent to find out.
type Way struct {
	Address     string       `json:"address,omitempty"` // for whom; of an alias, one of its members
	Destination string       `json:"destination"`       // as items of the queue have it
	Hosts       []route.Host `json:"hosts,omitempty"`   // in the order to try
	Steps       []route.Step `json:"steps"`
	TLS         []Security   `json:"tls,omitempty"`   // how a session with each host must be secured
	Error       string       `json:"error,omitempty"` // why it goes nowhere, with its status
}

// Security is how a session with a host must be secured.
type Security struct {
	Host  string           `json:"host"`
	Level string           `json:"level"` // of package tlspolicy
	Steps []tlspolicy.Step `json:"steps,omitempty"`
}

// maxWays bounds an answer: an alias may have many members.
const maxWays = 100

// Ways tells where mail for an address from a sender would go now: for each account, or destination of other servers, behind
// the address.
func (m *MTA) Ways(ctx context.Context, a, from mail.Address) []Way {
	p, err := m.mda.Plan(ctx, mda.Message{}, mail.Recipient{Address: a})
	if err != nil {
		return []Way{failedWay(a, err)}
	}
	var ways []Way
	for _, d := range p.Deliveries {
		w := Way{Address: d.Recipient.Address.String(), Destination: queue.LocalDestination(d.Account)}
		w.say("it is delivered here, into the account's "+d.Name, "")
		ways = append(ways, w)
	}
	for _, f := range p.Failures {
		ways = append(ways, failedWay(f.Recipient.Address, f.Err))
	}
	for _, f := range p.Forwards[:min(len(p.Forwards), max(0, maxWays-len(ways)))] {
		to := f.Recipient.Address
		w := m.Way(ctx, &queue.Item{Destination: string(to.Domain), From: from})
		w.Address = to.String()
		ways = append(ways, w)
	}
	return ways[:min(len(ways), maxWays)]
}

// Way tells where an item of the queue would go now.
func (m *MTA) Way(ctx context.Context, it *queue.Item) Way {
	w := Way{Destination: it.Destination}
	if it.Local() {
		w.say("it is delivered here", "")
		return w
	}
	if waits, err := m.onDemand(ctx, it); err == nil && waits && it.Via == "" {
		w.say("it waits until its customer takes it by ATRN", "RFC 2645 §5")
		return w
	}
	plan, err := m.route(ctx, it)
	w.Hosts, w.Steps = plan.Hosts, append(w.Steps, plan.Steps...)
	if err != nil {
		w.fail(err)
		return w
	}
	if d := m.destination(ctx, plan); d != nil {
		for _, h := range plan.Hosts {
			dec := d.Host(ctx, h.Name)
			if dec.Refused != nil {
				dec.Steps = append(dec.Steps, tlspolicy.Step{Text: "it is not used: " + dec.Refused.Text})
			}
			w.TLS = append(w.TLS, Security{h.Name, dec.Level.String(), dec.Steps})
		}
	}
	return w
}

func failedWay(a mail.Address, err error) Way {
	w := Way{Address: a.String(), Destination: string(a.Domain)}
	w.fail(err)
	return w
}

func (w *Way) say(text, clause string) {
	w.Steps = append(w.Steps, route.Step{Text: text, Clause: clause})
}

// fail says what the public may know of an error.
func (w *Way) fail(err error) {
	var e *mail.Error
	if w.Error = mail.KindOf(err).String(); errors.As(err, &e) && e.Text != "" {
		w.Error = e.Text
		if code := e.Code.String(); code != "" {
			w.Error = code + " " + e.Text
		}
	}
}

// CheckVia gives a host as route.Router.Via takes it, in the form in which items keep it; the Kinds of errors are those
// of that: it leads back here, or nowhere.
func (m *MTA) CheckVia(ctx context.Context, via string) (string, error) {
	via, err := route.CheckVia(via)
	if err == nil {
		_, err = m.o.Router.Via(ctx, mail.Domain(via), mail.Address{}, via)
	}
	return via, err
}
