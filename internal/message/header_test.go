package message

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"postel/internal/mail"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	in := "Received: a\r\n\tb\r\nSubject:  =?utf-8?q?=C3=A4?= \r\nbroken\r\nX-A : 1\r\nx-a:2\r\n: none\r\nX Y: z\r\nEmpty:\r\n\r\nbody: x\r\n"
	h, n := ParseHeader(in)
	if h.String()+in[n:] != in || in[n:] != "body: x\r\n" || h.Len() != 8 || h.Size() != n {
		t.Fatalf("%d fields, body %q", h.Len(), in[n:])
	}
	if h.Get("received") != "a\tb" || h.Text("SUBJECT") != "ä" || h.Get("X-a") != "1" || h.Count("x-a") != 2 ||
		!h.Has("Empty") || h.Has("broken") || h.Has("X Y") || h.Has("") || h.Get("nope") != "" {
		t.Error("a lookup fails")
	}
	var names []string
	for f := range h.All() {
		names = append(names, f.Name())
	}
	if want := []string{"Received", "Subject", "", "X-A", "x-a", "", "", "Empty"}; !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	if h.Del("X-A") != 2 || h.Has("x-a") {
		t.Error("Del leaves fields")
	}
	h.Prepend("Return-Path", "<>")
	h.Add("X-Long", "a\r\nInjected: b\r\n\r\nbody\n c\rd")
	again, n := ParseHeader(h.String())
	if again.Has("Injected") || again.Get("X-Long") != "a Injected: b body cd" && again.Get("X-Long") != "a Injected: b body c d" ||
		n != h.Size() || !strings.HasPrefix(h.String(), "Return-Path: <>\r\nReceived: a\r\n\tb\r\n") {
		t.Errorf("%q", h.String())
	}
}

func TestHeaderWithoutEnd(t *testing.T) {
	t.Parallel()
	h, _ := ParseHeader("A: b")
	h.Add("C", "d")
	if h.String() != "A: b\r\nC: d\r\n" {
		t.Errorf("%q", h.String())
	}
	h = Header{}
	h.Add("A", "b")
	if h.String() != "A: b\r\n\r\n" {
		t.Errorf("%q", h.String())
	}
}

func TestReadHeader(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "\r\nx", "\nx", "A: b", "A: b\r\n", "A: b\r\n\r\nx", "A:\n b\n\nx\n", "A: " + strings.Repeat("x", 10000) + "\r\n\r\nx", "\r\r\n\r\nx"} {
		br := bufio.NewReaderSize(strings.NewReader(in), 16)
		h, err := ReadHeader(br, 0)
		rest, _ := io.ReadAll(br)
		if err != nil || h.String()+string(rest) != in || strings.HasSuffix(in, "x") && len(in) < 99 && len(rest) == 0 {
			t.Errorf("%.40q: %v, rest %q", in, err, rest)
		}
	}
	for in, kind := range map[string]mail.Kind{"A: " + strings.Repeat("x", 100): mail.TooLarge} {
		if _, err := ReadHeader(bufio.NewReader(strings.NewReader(in)), 50); !mail.Is(err, kind) {
			t.Errorf("%v", err)
		}
	}
	if _, err := ReadHeader(bufio.NewReader(strings.NewReader(strings.Repeat("a:\n", MaxFields+1))), 0); !mail.Is(err, mail.TooLarge) {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := EditHeader(io.MultiReader(strings.NewReader("A: b\r\n"), iotest.ErrReader(broken)), 0, nil); !errors.Is(err, broken) {
		t.Error(err)
	}
	refuse := mail.E("x", mail.Loop, "no")
	if _, err := EditHeader(strings.NewReader("A: b\r\n\r\n"), 0, func(*Header) error { return refuse }); !mail.Is(err, mail.Loop) {
		t.Error(err)
	}
}

func TestStrayLine(t *testing.T) {
	t.Parallel()
	in := " dkim=pass\r\nFrom: a@b.example\r\n\r\nx"
	r, err := EditHeader(strings.NewReader(in), 0, func(h *Header) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(r)
	if want := "X-Stray: dkim=pass\r\nFrom: a@b.example\r\n\r\nx"; string(got) != want {
		t.Errorf("%q", got)
	}
	h, _ := ParseHeader("Authentication-Results: us; dkim=fail\r\n" + string(got))
	if h.Get("Authentication-Results") != "us; dkim=fail" {
		t.Error("a stray line speaks in our name")
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	h, _ := ParseHeader("Received: 1\r\nDelivered-To: Bob@Example.org\r\nreceived: 2\r\nDelivered-To: broken\r\n\r\n")
	if h.Hops() != 2 {
		t.Error(h.Hops())
	}
	to := h.DeliveredTo()
	if !to(mail.Address{Local: "bob", Domain: "example.org"}) || to(mail.Address{Local: "bob", Domain: "example.net"}) {
		t.Error("Delivered-To is not found as it should be")
	}
}

// TestDeliveredToIsReadOnce: a stranger's header full of Delivered-To costs no more with 1,000 recipients than with one.
func TestDeliveredToIsReadOnce(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		strings.Repeat("Delivered-To: <x@y.example>\r\n", 9900),
		"Delivered-To: newest@here.example\r\nDelivered-To: " + strings.Repeat("a@b,\r\n ", 120000) + "\r\n",
	} {
		h, _ := ParseHeader(in + "\r\n")
		took := fastest(patience, func() {
			to := h.DeliveredTo()
			for range 10000 {
				to(mail.Address{Local: "bob", Domain: "example.org"})
			}
		})
		if took > patience {
			t.Error(took)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const ok = "From: Alice <a@example.org>\nTo: b@example.net\nDate: Mon, 6 Jan 2025 10:00:00 +0000\nMessage-ID: <1@example.org>\n"
	for _, in := range []string{
		ok, "From: a@example.org\n", "From: a@b.example, c@d.example\nSender: a@b.example\n",
		"From: a@b.example\nTo: undisclosed-recipients:;\nCc:\n", "From: дима@пример.рф\n", "From: \"a, b\" <a@b.example> (work)\n",
		"From: a@b.example\nTo: G: x@y.example, \"z z\"@[192.0.2.1];, , Joe Q. Public <j@p.example>\n",
		"From: a@b.example\nResent-To: x@y.example\nResent-To: z@y.example\n",
	} {
		h, _ := ParseHeader(crlf(in))
		if err := h.Check(); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
	for in, want := range map[string]string{
		"To: b@example.net\n":              "the From field is missing",
		ok + ok:                            "2 From fields",
		ok + "Subject: a\nsubject: b\n":    "2 Subject fields",
		"From:\n":                          "names nobody",
		"From: G:;\n":                      "names nobody",
		"From: a@b.example, c@d.example\n": "Sender field must name one",
		"From: a@b.example\nSender: x@y.example, z@y.example\n": "names 2 mailboxes",
		"From: alice\n":                                "without a domain",
		"From: a@b@c.example\n":                        "more than one @",
		"From: a@b.example <a@b.example>\n":            "unquoted @",
		"From: a b@c.example\n":                        "local part",
		"From: a..b@c.example\n":                       "local part",
		"From: .b@c.example\n":                         "local part",
		"From: a@c..example\n":                         "domain",
		"From: a@\n":                                   "domain",
		"From: <a@b.example\n":                         "not closed",
		"From: \"a <a@b.example>\n":                    "quote that is not closed",
		"From: (a <a@b.example>\n":                     "comment that is not closed",
		"From: a@[1.2.3.4\n":                           "bracket that is not closed",
		"From: <a@b.example> c\n":                      "behind an angle bracket",
		"From: <>\n":                                   "empty angle brackets",
		"From: a@b.example;\n":                         "semicolon",
		"From: \xff@b.example\n":                       "needs quotes",
		"From: a@b.example\nTo: G: x@y.example\n":      "group without its semicolon",
		"From: a@b.example\nTo: G: H: x@y.example;\n":  "colon",
		"From: a@b.example\nDate: tomorrow\n":          "no date",
		"From: a@b.example\nMessage-ID: 1@b.example\n": "Message-ID",
		"From: a@b.example\nno field\n":                "line 2",
	} {
		h, _ := ParseHeader(crlf(in))
		err := h.Check()
		if !mail.Is(err, mail.Rejected) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, m := range mails(f) {
		h, _ := ParseHeader(m.text)
		f.Add(h.String(), "value")
	}
	f.Add("A: b\n\n", "x\r\n\r\ny")
	f.Fuzz(func(t *testing.T, in, value string) {
		h, n := ParseHeader(in)
		if h.String()+in[n:] != in {
			t.Fatal("not the same octets")
		}
		br := bufio.NewReaderSize(strings.NewReader(in), 16)
		r, err := ReadHeader(br, 0)
		rest, _ := io.ReadAll(br)
		if err != nil || r.String() != h.String() || string(rest) != in[n:] {
			t.Fatalf("ReadHeader: %v", err)
		}
		for f := range h.All() {
			if strings.ContainsAny(f.Value(), "\r\n\x00") || strings.ContainsAny(f.Text(), "\r\n\x00") {
				t.Fatalf("line end in %q", f.Value())
			}
		}
		_ = h.Check()
		before := h.Len()
		h.Add("X-Added", value)
		h.AddText("X-Text", value)
		h.Prepend("X-First", value)
		again, n := ParseHeader(h.String())
		if again.Len() != before+3 || n != h.Size() || again.String() != h.String() {
			t.Fatalf("%d fields of %d after adding %q:\n%q", again.Len(), before+3, value, h.String())
		}
		if h.Del("X-FIRST")+h.Del("x-added")+h.Del("x-text") < 3 {
			t.Fatal("fields were not found")
		}
	})
}

// TestFieldsAndTop: the short ways to the fields and to the top of a tree give what the long ones do.
func TestFieldsAndTop(t *testing.T) {
	t.Parallel()
	for _, m := range mails(t) {
		h, _ := ParseHeader(m.text)
		if got, want := slices.Collect(Fields(m.text)), slices.Collect(h.All()); !slices.Equal(got, want) {
			t.Errorf("%s: %d fields, not %d", m.name, len(got), len(want))
		}
		root := parse(t, Limits{}, m.text)
		top, err := DecodeTop(root.AppendBinary(nil))
		if err != nil {
			t.Fatal(m.name, err)
		}
		if d := cmp.Diff(root.Summary, top.Summary); d != "" || top.Envelope.Date != root.Envelope.Date ||
			top.HeaderStart != root.HeaderStart || top.BodyStart != root.BodyStart || top.End != root.End {
			t.Errorf("%s: %s", m.name, d)
		}
	}
}
