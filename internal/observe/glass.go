package observe

import (
	"sync"
	"sync/atomic"
	"time"

	"postel/internal/mail"
)

// Direction says who wrote a line.
type Direction uint8

// The directions, as seen from this program.
const (
	Theirs Direction = iota // read from the peer
	Ours                    // written by us
	Note                    // not on the wire: connected, encrypted, closed, a body's size
)

// MarshalText gives "theirs", "ours" or "note".
func (d Direction) MarshalText() ([]byte, error) {
	return []byte([...]string{"theirs", "ours", "note"}[min(d, Note)]), nil
}

// UnmarshalText reads what MarshalText gave; anything else is a note.
func (d *Direction) UnmarshalText(b []byte) error {
	switch string(b) {
	case "theirs":
		*d = Theirs
	case "ours":
		*d = Ours
	default:
		*d = Note
	}
	return nil
}

// Trace takes one line of a session as it was on the wire, without its CRLF. The callee copies what it keeps.
// The caller says which line is secret (passwords, tokens, SASL responses); bodies are not lines: they are told
// as one Note with their size.
type Trace func(d Direction, line []byte, secret bool)

// SessionInfo is what is known of a session when it begins.
type SessionInfo struct {
	ID       mail.ID   `json:"id"`
	Protocol string    `json:"protocol"` // "smtp", "submission", "lmtp", "imap", "pop3"
	Outbound bool      `json:"outbound"` // we are the client
	Local    string    `json:"local"`    // address and port
	Remote   string    `json:"remote"`
	Start    time.Time `json:"start"`
}

// Line is one event of a transcript.
type Line struct {
	Session   mail.ID   `json:"session"`
	Time      time.Time `json:"time"`
	Direction Direction `json:"direction"`
	TLS       bool      `json:"tls"`
	Error     bool      `json:"error"` // a reply that refuses
	Text      string    `json:"text"`  // masked, at most MaxLine octets
}

// Limits of what glass keeps in memory.
const (
	MaxLine         = 2048     // octets kept of a line
	maxSessionBytes = 64 << 10 // octets kept of a session: its beginning, then its newest lines
	maxGlassBytes   = 8 << 20  // octets kept of all sessions; the oldest go first
)

// Glyph gives swaks' mark for the line: -> ours, <- theirs, <** a refusal, whoever refuses, ~> and <~ under TLS,
// === a note.
func (l Line) Glyph() string {
	switch {
	case l.Direction == Note:
		return "==="
	case l.Error && l.TLS:
		return "<~*"
	case l.Error:
		return "<**"
	case l.Direction == Ours && l.TLS:
		return " ~>"
	case l.Direction == Ours:
		return " ->"
	case l.TLS:
		return "<~ "
	}
	return "<- "
}

// Transcript is a session with its lines.
type Transcript struct {
	SessionInfo
	End     time.Time `json:"end,omitzero"`
	Dropped int       `json:"dropped"` // lines left out of the middle
	Lines   []Line    `json:"lines"`
}

// Glass records sessions. Safe for concurrent use; a nil Glass records nothing. A line takes its session's lock
// alone, so that sessions do not wait for one another.
type Glass struct {
	clock func() time.Time
	ids   *mail.IDs
	sink  Sink
	bytes atomic.Int64 // kept of all sessions

	mu       sync.Mutex // taken before a session's
	sessions map[mail.ID]*Session
	order    []*Session // by start; ended ones leave from the front when memory runs short

	watching atomic.Int32 // len(watch), so that nobody watching costs nothing
	watch    map[chan Line]struct{}
}

// Sink keeps events beyond memory; app gives one that writes rows. It must not block for long.
type Sink interface {
	KeepSession(Transcript)
	KeepEvent(Event)
}

// NewGlass makes a Glass; sink may be nil.
func NewGlass(ids *mail.IDs, clock func() time.Time, sink Sink) *Glass {
	return &Glass{clock: clock, ids: ids, sink: sink, sessions: map[mail.ID]*Session{}, watch: map[chan Line]struct{}{}}
}

// Session is one session being recorded. A nil Session records nothing but has a zero ID.
type Session struct {
	glass *Glass
	info  SessionInfo

	mu      sync.Mutex
	tls     bool
	end     time.Time
	tape    tape
	dropped int
}

// Begin starts a session and gives it an id.
func (g *Glass) Begin(info SessionInfo) *Session {
	if g == nil {
		return nil
	}
	info.Start = g.clock()
	if info.ID.IsZero() {
		info.ID = g.ids.New(info.Start)
	}
	s := &Session{glass: g, info: info}
	g.bytes.Add(sessionOverhead)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions[info.ID] = s
	g.order = append(g.order, s)
	return s
}

// ID gives the session's id.
func (s *Session) ID() mail.ID {
	if s == nil {
		return mail.ID{}
	}
	return s.info.ID
}

// Encrypted marks that lines from now on are under TLS.
func (s *Session) Encrypted() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.tls = true
	s.mu.Unlock()
}

// Trace records a line; it is a Trace. A reply that begins with 4 or 5 and two digits, NO, BAD or -ERR, from
// whichever side serves, is marked as a refusal.
func (s *Session) Trace(d Direction, line []byte, secret bool) {
	if s == nil {
		return
	}
	g := s.glass
	now, mark := g.clock(), byte(d)
	if server := (d == Ours) != s.info.Outbound; d != Note && server && refuses(line) {
		mark |= markError
	}
	s.mu.Lock()
	if s.tls {
		mark |= markTLS
	}
	before := cap(s.tape.data)
	text := s.tape.add(mark, now.Sub(s.info.Start), line, secret)
	var l Line
	watched := g.watching.Load() > 0
	if watched {
		l = shown(s.info.ID, now, mark, text)
	}
	if len(s.tape.data) > maxSessionBytes {
		s.dropped += s.tape.shorten()
	}
	grown := cap(s.tape.data) - before
	s.mu.Unlock()
	if watched {
		g.show(l)
	}
	if grown != 0 && g.bytes.Add(int64(grown)) > maxGlassBytes {
		g.trim()
	}
}

// show hands a line to those who follow.
func (g *Glass) show(l Line) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.watch {
		select {
		case c <- l:
		default: // a watcher that is too slow loses lines rather than stopping mail
		}
	}
}

// End closes the session and hands it to the Sink.
func (s *Session) End() {
	if s == nil {
		return
	}
	now := s.glass.clock()
	s.mu.Lock()
	s.end = now
	s.mu.Unlock()
	if s.glass.sink != nil {
		s.glass.sink.KeepSession(s.transcript(true))
	}
}

// trim forgets the oldest ended sessions until there is room for a while.
func (g *Glass) trim() {
	g.mu.Lock()
	defer g.mu.Unlock()
	const enough = maxGlassBytes / 10 * 9
	kept := g.order[:0]
	for _, s := range g.order {
		s.mu.Lock()
		if g.bytes.Load() > enough && !s.end.IsZero() {
			g.bytes.Add(-int64(cap(s.tape.data) + sessionOverhead))
			delete(g.sessions, s.info.ID)
		} else {
			kept = append(kept, s)
		}
		s.mu.Unlock()
	}
	clear(g.order[len(kept):])
	g.order = kept
}

const sessionOverhead = 512 // octets of a Session beside its tape

// transcript copies the session, with or without its lines.
func (s *Session) transcript(lines bool) Transcript {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Transcript{SessionInfo: s.info, End: s.end, Dropped: s.dropped}
	if lines {
		t.Lines = s.tape.all(s.info.ID, s.info.Start)
	}
	return t
}

// List gives the sessions in memory without their lines, the newest first, n at most.
func (g *Glass) List(n int) []Transcript {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []Transcript
	for i := len(g.order) - 1; i >= 0 && len(out) < n; i-- {
		out = append(out, g.order[i].transcript(false))
	}
	return out
}

// Show gives one session.
func (g *Glass) Show(id mail.ID) (Transcript, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.sessions[id]
	if !ok {
		return Transcript{}, false
	}
	return s.transcript(true), true
}

// Follow gives the lines of all sessions from now on, and a function that ends it.
func (g *Glass) Follow() (<-chan Line, func()) {
	c := make(chan Line, 1024)
	g.mu.Lock()
	g.watch[c] = struct{}{}
	g.watching.Store(int32(len(g.watch)))
	g.mu.Unlock()
	var once sync.Once
	return c, func() {
		once.Do(func() {
			g.mu.Lock()
			delete(g.watch, c)
			g.watching.Store(int32(len(g.watch)))
			g.mu.Unlock()
		})
	}
}
