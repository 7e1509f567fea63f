package observe

import (
	"encoding/json"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
)

func TestMaskHidesSecrets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"AUTH PLAIN AGFsaWNlAHBvc3RlbA==", "AUTH PLAIN ••••••••"},
		{"auth login", "AUTH login ••••••••"},
		{"a1 LOGIN alice postel", "a1 LOGIN ••••••••"},
		{"a1 AUTHENTICATE PLAIN AGFs", "a1 AUTHENTICATE PLAIN ••••••••"},
		{"PASS postel", "PASS ••••••••"},
		{"APOP alice c4c9334bac560ecc979e58001b3e22fb", "APOP ••••••••"},
		{"AGFsaWNlAHBvc3RlbA==", "••••••••"},
	} {
		if got := Mask([]byte(c.in), true); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
	for in, want := range map[string]string{
		"334 cj0wblByMVlkLHM9a2VaYmwzLGk9MzI3Njg=": "334 ••••••••", // r=…,s=…,i=…
		"+ dj0vQUxrcFBDNmcza0laSlpX":               "+ ••••••••",   // v=…
		"334 VXNlcm5hbWU6":                         "334 VXNlcm5hbWU6",
		"334 ":                                     "334 ",
		"+ idling":                                 "+ idling",
	} {
		if got := Mask([]byte(in), false); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := Mask([]byte("a\x00b\r\xff"), false); got != "a␀b␍�" {
		t.Errorf("%q", got)
	}
}

func TestGlyphs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		l    Line
		want string
	}{
		{Line{Direction: Theirs}, "<- "},
		{Line{Direction: Ours}, " ->"},
		{Line{Direction: Theirs, Error: true}, "<**"},
		{Line{Direction: Ours, Error: true}, "<**"}, // we refuse
		{Line{Direction: Ours, TLS: true}, " ~>"},
		{Line{Direction: Theirs, TLS: true}, "<~ "},
		{Line{Direction: Theirs, TLS: true, Error: true}, "<~*"},
		{Line{Direction: Note}, "==="},
	} {
		if got := c.l.Glyph(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.l, got, c.want)
		}
	}
}

func TestGlassIsBounded(t *testing.T) {
	t.Parallel()
	g := NewGlass(&mail.IDs{}, time.Now, nil)
	line := []byte(strings.Repeat("x", MaxLine*2))
	for range 600 {
		s := g.Begin(SessionInfo{Protocol: "smtp"})
		for range 100 {
			s.Trace(Theirs, line, false)
		}
		s.End()
	}
	if kept := g.bytes.Load(); kept > maxGlassBytes+maxSessionBytes {
		t.Errorf("%d octets kept", kept)
	}
	newest := g.List(1)[0]
	tr, ok := g.Show(newest.ID)
	if !ok || len(tr.Lines) == 0 || tr.Dropped == 0 || tr.Dropped+len(tr.Lines) != 100 {
		t.Errorf("%v: %d lines, %d dropped", ok, len(tr.Lines), tr.Dropped)
	}
}

// TestTranscript: what is kept reads back as it was said, with its time, direction and marks, however long it is.
func TestTranscript(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 12, 0, 0, 123456789, time.UTC)
	g := NewGlass(&mail.IDs{}, func() time.Time { return now }, nil)
	s := g.Begin(SessionInfo{Protocol: "smtp"})
	follow, stop := g.Follow()
	defer stop()
	var want []Line
	for i, text := range []string{
		"220 hi", "", strings.Repeat("x", 127), strings.Repeat("y", 128), strings.Repeat("z", MaxLine), "550 5.1.1 no",
		"héllo \tthere", "a\x00b\xff",
	} {
		now = now.Add(time.Duration(i*i) * 1234567 * time.Microsecond)
		if i == 3 {
			s.Encrypted()
		}
		d := Direction(i % 3)
		s.Trace(d, []byte(text), false)
		want = append(want, Line{
			Session: s.ID(), Time: now, Direction: d, TLS: i >= 3, Error: false, Text: Mask([]byte(text), false),
		})
	}
	s.Trace(Ours, []byte("550 5.1.1 no"), false)
	want = append(want, Line{Session: s.ID(), Time: now, Direction: Ours, TLS: true, Error: true, Text: "550 5.1.1 no"})
	tr, ok := g.Show(s.ID())
	if !ok || !reflect.DeepEqual(tr.Lines, want) {
		t.Errorf("kept %+v, want %+v", tr.Lines, want)
	}
	for i := range want {
		if l := <-follow; l != want[i] {
			t.Errorf("followed %+v, want %+v", l, want[i])
		}
	}
}

func TestFollowNeverBlocks(t *testing.T) {
	t.Parallel()
	g := NewGlass(&mail.IDs{}, time.Now, nil)
	_, stop := g.Follow()
	defer stop()
	s := g.Begin(SessionInfo{})
	for range 5000 {
		s.Trace(Ours, []byte("250 OK"), false)
	}
}

// TestJourneyIsBounded: a stranger chooses how long a Message-ID is and how many recipients there are.
func TestJourneyIsBounded(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	j := NewJourney(slog.New(slog.NewTextHandler(&log, nil)), time.Now, nil)
	var ids mail.IDs
	long := "<" + strings.Repeat("x", 1<<20) + ">"
	var newest mail.ID
	for i := range 400 {
		newest = ids.New(time.Now())
		j.Add(Event{Message: newest, Kind: Received, MessageID: long, Why: long, From: long})
		for range min(i, 300) {
			j.Add(Event{Message: newest, Kind: Filed, MessageID: "<a@b>", Recipient: strings.Repeat("r", 300)})
		}
	}
	kept := 0
	for _, m := range j.order {
		for _, e := range j.events[m] {
			kept += e.size()
		}
	}
	if kept != j.bytes || kept > maxJourneyBytes+maxJourneyEvents*2000 || len(j.events) != len(j.order) || len(j.Of("m-"+newest.String())) != maxJourneyEvents {
		t.Errorf("%d octets kept, %d counted, of %d messages", kept, j.bytes, len(j.order))
	}
	if log.Len() > 400*(300*600+4*maxText) {
		t.Errorf("%d octets logged", log.Len())
	}
}

func TestJourneyByMessageID(t *testing.T) {
	t.Parallel()
	j := NewJourney(nil, time.Now, nil)
	var ids mail.IDs
	m, s := ids.New(time.Now()), ids.New(time.Now())
	j.Add(Event{Message: m, Kind: Received, MessageID: "<x@y>", Session: "s-" + s.String()})
	j.Add(Event{Message: m, Kind: Filed, Recipient: "alice@postel.test"})
	for _, id := range []string{"<x@y>", "m-" + m.String(), m.String(), "s-" + s.String()} {
		if ev := j.Of(id); len(ev) != 2 || ev[1].Kind != Filed {
			t.Errorf("%s: %+v", id, ev)
		}
	}
	for range maxJourneys {
		j.Add(Event{Message: ids.New(time.Now()), Kind: Received})
	}
	if ev := j.Of("<x@y>"); ev != nil {
		t.Errorf("forgotten message still answers: %+v", ev)
	}
}

// Sessions that trace, end, are listed and followed at once do not harm one another.
func TestGlassConcurrently(t *testing.T) {
	t.Parallel()
	g := NewGlass(&mail.IDs{}, time.Now, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, stop := g.Follow()
			defer stop()
			for range 50 {
				s := g.Begin(SessionInfo{Protocol: "smtp"})
				for range 40 {
					s.Trace(Theirs, []byte(strings.Repeat("x", 1500)), false)
				}
				s.Encrypted()
				s.End()
				g.List(5)
				g.Show(s.ID())
			}
		})
	}
	wg.Wait()
}

// In JSON ids have their prefixes, and what is written is read back.
func TestJSON(t *testing.T) {
	t.Parallel()
	g := NewGlass(&mail.IDs{}, time.Now, nil)
	x := g.Begin(SessionInfo{Protocol: "smtp"})
	x.Trace(Ours, []byte("550 no"), false)
	want, _ := g.Show(x.ID())
	b, err := json.Marshal(want)
	if err != nil || !strings.Contains(string(b), `"id":"s-`+x.ID().String()) || !strings.Contains(string(b), `"glyph":"\u003c**"`) {
		t.Fatalf("%s, %v", b, err)
	}
	var got Transcript
	if err := json.Unmarshal(b, &got); err != nil || got.ID != x.ID() || len(got.Lines) != 1 || got.Lines[0].Direction != Ours || got.Lines[0].Text != "550 no" {
		t.Errorf("%+v, %v", got, err)
	}
	var e Event
	b, _ = json.Marshal(Event{Message: x.ID(), Kind: Filed})
	if err := json.Unmarshal(b, &e); err != nil || e.Message != x.ID() || e.Kind != Filed || !strings.Contains(string(b), `"message":"m-`) {
		t.Errorf("%s, %v", b, err)
	}
}
