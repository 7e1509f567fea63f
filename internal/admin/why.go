package admin

import (
	"net/http"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
)

// Reason is one refusal, delay or failure, explained.
type Reason struct {
	Time      time.Time     `json:"time"`
	Session   string        `json:"session,omitempty"` // s-…
	Message   string        `json:"message,omitempty"` // m-…
	Protocol  string        `json:"protocol,omitempty"`
	Remote    string        `json:"remote,omitempty"` // with whom
	Kind      string        `json:"kind"`             // of the event, or "refused" of a line
	From      string        `json:"from,omitempty"`
	Recipient string        `json:"recipient,omitempty"`
	Command   string        `json:"command,omitempty"` // what was refused
	Reply     string        `json:"reply,omitempty"`   // as it was said
	Why       string        `json:"why,omitempty"`     // as the decision says
	Next      time.Time     `json:"next,omitzero"`     // when it is tried again
	Meaning   *smtp.Meaning `json:"meaning,omitempty"`
}

// maxReasons bounds an answer: the newest are told.
const maxReasons = 100

// why answers what kept a message, or those of a session or an address, from going its way. With nothing to tell of
// something known the answer is empty.
func (a *api) why(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	events := a.Journey.Of(id)
	known := len(events) > 0
	if strings.Contains(id, "@") && !strings.HasPrefix(id, "<") {
		events = a.Journey.About(id)
		known = len(events) > 0
	}
	var out []Reason
	if session, ok := mail.ParseID(id); ok {
		if t, ok := a.Glass.Show(session); ok {
			known = true
			out = refusals(t)
		}
	}
	for _, e := range events {
		if r, ok := reasonOf(e); ok {
			out = append(out, r)
		}
	}
	if !known {
		return mail.E("admin.why", mail.NotFound, "nothing is known of %s: sessions and messages are remembered for a while only", id)
	}
	out = out[max(0, len(out)-maxReasons):]
	return lines(w, each(out), func(r Reason) Reason { return r })
}

// reasonOf explains an event; false for one that went well.
func reasonOf(e observe.Event) (Reason, bool) {
	switch e.Kind {
	case observe.Refused, observe.Attempted, observe.Bounced, observe.Dropped, observe.Held:
	default:
		return Reason{}, false
	}
	r := Reason{
		Time: e.Time, Session: e.Session, Message: "m-" + e.Message.String(), Kind: e.Kind, Remote: e.Host, From: e.From,
		Recipient: e.Recipient, Reply: e.Reply, Why: e.Why, Next: e.Next,
	}
	if "s-"+e.Message.String() == e.Session {
		r.Message = "" // it never became a message
	}
	r.Meaning = meaningOf([]byte(e.Reply))
	return r, true
}

// meaningOf explains a reply of SMTP; nil for what is none or refuses nothing.
func meaningOf(line []byte) *smtp.Meaning {
	code, e, _, _, err := smtp.ParseReplyLine(line)
	if err != nil || code < 400 {
		return nil
	}
	m := smtp.Explain(code, e)
	return &m
}

// refusals gives what was refused in a session, each with the command that it answers.
func refusals(t observe.Transcript) []Reason {
	var out []Reason
	var commands []string // not answered yet, as they may be pipelined
	asks, answers := observe.Theirs, observe.Ours
	if t.Outbound {
		asks, answers = answers, asks
	}
	body, command := false, "the connection"
	for _, l := range t.Lines {
		switch {
		case l.Direction == asks:
			commands = append(commands, l.Text)
		case l.Direction != answers:
		default:
			switch { // with neither it is one more reply to the same, as in LMTP
			case body:
				command = "the content of the message"
			case len(commands) > 0:
				command = commands[0]
			}
			if l.Error {
				out = append(out, Reason{
					Time: l.Time, Session: "s-" + t.ID.String(), Protocol: t.Protocol, Remote: t.Remote, Kind: observe.Refused,
					Command: command, Reply: l.Text, Meaning: meaningOf([]byte(l.Text)),
				})
			}
			if more := len(l.Text) > 3 && l.Text[3] == '-'; more {
				continue
			}
			if !body && len(commands) > 0 {
				commands = commands[1:]
			}
			body = strings.HasPrefix(l.Text, "354")
		}
	}
	return out
}
