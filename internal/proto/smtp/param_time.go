package smtp

import (
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
)

// By is the parameter BY (RFC 2852 §4): in how many seconds a message is to be delivered. The zero value is none.
type By struct {
	Set     bool
	Seconds int32 // -999999999 to 999999999; above 0 with Return
	Return  bool  // then it goes back (R); otherwise it goes on and the sender is told (N)
	Trace   bool
}

// String gives the value of the parameter, "" when there is none.
func (b By) String() string {
	if !b.Set {
		return ""
	}
	s := strconv.Itoa(int(b.Seconds)) + ";N"
	if b.Return {
		s = s[:len(s)-1] + "R"
	}
	if b.Trace {
		s += "T"
	}
	return s
}

// At gives the time that is meant when BY was said at now.
func (b By) At(now time.Time) mail.DeliverBy {
	if !b.Set {
		return mail.DeliverBy{}
	}
	return mail.DeliverBy{Deadline: now.Add(time.Duration(b.Seconds) * time.Second), Return: b.Return, Trace: b.Trace}
}

// parseBy reads by-value. A message that is to go back and whose time is over cannot be asked for.
func parseBy(v string) (By, bool) {
	secs, mode, ok := strings.Cut(v, ";")
	digits := strings.TrimLeft(secs, "+-")
	n, err := strconv.ParseInt(secs, 10, 32)
	if !ok || err != nil || len(digits) > 9 || len(secs)-len(digits) > 1 {
		return By{}, false
	}
	b := By{Set: true, Seconds: int32(n)}
	mode = strings.ToUpper(mode)
	mode, b.Trace = strings.CutSuffix(mode, "T")
	b.Return = mode == "R"
	return b, mode == "N" || b.Return && n > 0
}

// hold reads HOLDFOR, 1 to 999999999 seconds, and HOLDUNTIL, a date-time of RFC 3339 (RFC 4865 §4, erratum 2040).
// One of them is enough.
func (m *Mail) hold(k, v string) error {
	if m.HoldFor != 0 || !m.Envelope.Hold.IsZero() {
		return argError("HOLDFOR and HOLDUNTIL do not go together")
	}
	if k == "HOLDUNTIL" {
		t, err := time.Parse(time.RFC3339, strings.ToUpper(v))
		if err != nil || t.IsZero() {
			return badParam(k)
		}
		m.Envelope.Hold = t.UTC()
		return nil
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || len(v) > 9 || n == 0 {
		return badParam(k)
	}
	m.HoldFor = time.Duration(n) * time.Second
	return nil
}
