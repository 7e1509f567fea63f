package observe

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"postel/internal/mail"
)

// Event is one hop or decision in the life of a message. Kind is one of the verbs below.
type Event struct {
	Message   mail.ID   `json:"message"`
	Time      time.Time `json:"time"`
	Kind      string    `json:"kind"`
	Session   string    `json:"session,omitempty"` // s-… of the session in which it happened
	Attempt   string    `json:"attempt,omitempty"` // a-… of the delivery attempt
	From      string    `json:"from,omitempty"`
	Recipient string    `json:"recipient,omitempty"`
	MessageID string    `json:"message_id,omitempty"` // the field, in angle brackets
	Host      string    `json:"host,omitempty"`
	Mailbox   string    `json:"mailbox,omitempty"`
	Queue     string    `json:"queue,omitempty"` // the queue id shown
	Size      int64     `json:"size,omitempty"`
	Reply     string    `json:"reply,omitempty"` // SMTP reply with its code
	Next      time.Time `json:"next,omitzero"`   // when it is tried again
	Why       string    `json:"why,omitempty"`   // a sentence for people
}

// The kinds of events.
const (
	Received  = "received"  // we took responsibility for it (250)
	Refused   = "refused"   // we did not
	Filed     = "filed"     // it lies in a mailbox
	Queued    = "queued"    // it waits to be sent on
	Attempted = "attempted" // a delivery attempt ended without success
	Relayed   = "relayed"   // another server took it
	Bounced   = "bounced"   // given up; a report goes to the sender
	Dropped   = "dropped"   // given up without a report (double bounce, or by an operator)
	Held      = "held"
	Released  = "released"
	Rerouted  = "rerouted" // an operator has it sent by Host, or without one as its destination wants again
	Reported  = "reported" // a DSN was made for it; Why names the DSN's id
)

// Journey keeps the events of messages and logs them. Safe for concurrent use; a nil Journey does nothing.
type Journey struct {
	log   *slog.Logger
	clock func() time.Time
	sink  Sink

	mu     sync.Mutex
	events map[mail.ID][]Event
	bytes  int // of all events
	order  []mail.ID
	byID   map[string]mail.ID // Message-ID field to message, the newest
}

// Limits of what is kept in memory: strangers choose how long texts are and how many recipients a message has.
const (
	maxJourneys      = 4096
	maxJourneyEvents = 256      // of one message
	maxText          = 998      // octets of one text, a line of RFC 5322 §2.1.1
	maxJourneyBytes  = 16 << 20 // of all events; the oldest messages go first
	eventOverhead    = 400
)

// NewJourney makes a Journey; log and sink may be nil.
func NewJourney(log *slog.Logger, clock func() time.Time, sink Sink) *Journey {
	return &Journey{log: log, clock: clock, sink: sink, events: map[mail.ID][]Event{}, byID: map[string]mail.ID{}}
}

// Add records an event; its time is set when it has none.
func (j *Journey) Add(e Event) {
	if j == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = j.clock()
	}
	e.clip()
	j.keep(e)
	if j.sink != nil {
		j.sink.KeepEvent(e)
	}
	j.tell(e)
}

// tell logs an event. Straight to the handler: a Logger looks up by whom it was called, which nobody wants to know.
func (j *Journey) tell(e Event) {
	ctx := context.Background()
	if j.log == nil || !j.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	r := slog.NewRecord(j.clock(), slog.LevelInfo, "mail "+e.Kind, 0)
	r.AddAttrs(e.attrs()...)
	_ = j.log.Handler().Handle(ctx, r) // as a Logger does
}

// clip makes an event small and independent of the header that its texts may be parts of.
func (e *Event) clip() {
	for _, s := range [...]*string{&e.From, &e.Recipient, &e.MessageID, &e.Host, &e.Mailbox, &e.Reply, &e.Why} {
		*s = strings.Clone((*s)[:min(len(*s), maxText)])
	}
}

// size is about what an event takes in memory.
func (e *Event) size() int {
	return eventOverhead + len(e.From) + len(e.Recipient) + len(e.MessageID) + len(e.Host) + len(e.Mailbox) + len(e.Reply) + len(e.Why)
}

func (j *Journey) keep(e Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	have, known := j.events[e.Message]
	if !known {
		have = make([]Event, 0, 2) // received, and filed or queued
		j.order = append(j.order, e.Message)
	}
	if e.MessageID != "" {
		j.byID[e.MessageID] = e.Message
	}
	if len(have) < maxJourneyEvents {
		j.events[e.Message] = append(have, e)
		j.bytes += e.size()
	}
	for len(j.order) > maxJourneys || j.bytes > maxJourneyBytes && len(j.order) > 1 {
		j.forget(j.order[0])
		j.order = j.order[1:]
	}
}

// forget drops a message's events.
func (j *Journey) forget(m mail.ID) {
	for _, e := range j.events[m] {
		if j.byID[e.MessageID] == m {
			delete(j.byID, e.MessageID)
		}
		j.bytes -= e.size()
	}
	delete(j.events, m)
}

// Of gives a message's events in the order in which they happened. id is m-…, or a Message-ID field in angle
// brackets, or s-… of a session, which gives the events of its messages.
func (j *Journey) Of(id string) []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	if m, ok := j.byID[id]; ok {
		return append([]Event(nil), j.events[m]...)
	}
	m, ok := mail.ParseID(id)
	if !ok {
		return nil
	}
	if have := j.events[m]; have != nil {
		return append([]Event(nil), have...)
	}
	var out []Event
	for _, o := range j.order {
		for _, e := range j.events[o] {
			if e.Session == "s-"+m.String() || e.Attempt == "a-"+m.String() {
				out = append(out, j.events[o]...)
				break
			}
		}
	}
	return out
}

// About gives the events in which an address is the sender or the recipient, in the order in which they happened.
func (j *Journey) About(address string) []Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []Event
	for _, m := range j.order {
		for _, e := range j.events[m] {
			if strings.EqualFold(e.From, address) || strings.EqualFold(e.Recipient, address) {
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return out
}

// attrs gives the fixed keys of the log line.
func (e Event) attrs() []slog.Attr {
	a := append(make([]slog.Attr, 0, 13), slog.String("message", "m-"+e.Message.String()))
	for _, kv := range [...][2]string{
		{"session", e.Session},
		{"attempt", e.Attempt},
		{"from", e.From},
		{"rcpt", e.Recipient},
		{"message_id", e.MessageID},
		{"host", e.Host},
		{"mailbox", e.Mailbox},
		{"queue", e.Queue},
		{"reply", e.Reply},
		{"why", e.Why},
	} {
		if kv[1] != "" {
			a = append(a, slog.String(kv[0], kv[1]))
		}
	}
	if e.Size > 0 {
		a = append(a, slog.Int64("size", e.Size))
	}
	if !e.Next.IsZero() {
		a = append(a, slog.Time("next", e.Next))
	}
	return a
}
