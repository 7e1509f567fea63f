package imap

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"postel/internal/message"
	"postel/internal/observe"
)

func written(fn func(e *Encoder)) string {
	var b bytes.Buffer
	e := NewEncoder(&b)
	fn(e)
	_ = e.Flush()
	return b.String()
}

func TestResponses(t *testing.T) {
	t.Parallel()
	at := time.Date(2020, 2, 7, 21, 2, 3, 0, time.FixedZone("", -8*3600))
	for _, c := range []struct {
		want string
		fn   func(e *Encoder)
	}{
		{"a1 OK [COPYUID 38505 304,319:320 3956:3958] done\r\n", func(e *Encoder) {
			e.Status("a1", OK, CodeCopyUID(38505, []uint32{304, 319, 320}, []uint32{3956, 3957, 3958}), "")
		}},
		{"* NO [PERMANENTFLAGS (\\Seen a)] x  y\r\n", func(e *Encoder) { e.Status("", NO, CodeFlags([]string{Seen, "a"}), "x\r\ny") }},
		{"+ \r\n", func(e *Encoder) { e.Continuation("", false) }},
		{"* LIST (\\HasNoChildren) \"/\" \"a &AOk- (\"\r\n", func(e *Encoder) {
			e.List(false, ListData{Attributes: []string{`\HasNoChildren`}, Name: "a é ("})
		}},
		{"* LSUB () \"/\" \"NIL\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\r\n", func(e *Encoder) { e.List(true, ListData{Name: "NIL", ChildInfo: true}) }},
		{"* STATUS \"\" (MESSAGES 3 SIZE 9)\r\n", func(e *Encoder) {
			e.StatusData("", []StatusItem{StatusMessages, StatusSize}, []uint64{3, 9})
		}},
		{"* ID (\"a\" NIL \"b\" \"c\\\"\")\r\n* ID NIL\r\n", func(e *Encoder) {
			e.ID([]Field{{"a", "", true}, {"b", `c"`, false}})
			e.ID(nil)
		}},
		{"* SEARCH\r\n* SEARCH 1 2\r\n", func(e *Encoder) { e.Search(nil); e.Search([]uint32{1, 2}) }},
		{"* ESEARCH (TAG \"t\") UID MIN 1 MAX 7 ALL 1:3,7 COUNT 4\r\n", func(e *Encoder) {
			e.ESearch("t", true, ReturnMin|ReturnMax|ReturnAll|ReturnCount, []uint32{1, 2, 3, 7})
		}},
		{"* ESEARCH (TAG \"t\") COUNT 0\r\n", func(e *Encoder) { e.ESearch("t", false, ReturnAll|ReturnCount, nil) }},
		{
			"* 12 FETCH (UID 7 FLAGS (\\Seen) INTERNALDATE \" 7-Feb-2020 21:02:03 -0800\" RFC822.SIZE 5 BODY[1.HEADER.FIELDS (a \"b(\")]<3> {3}\r\nabc BODY[] NIL)\r\n",
			func(e *Encoder) {
				e.BeginFetch(12)
				e.FetchUID(7)
				e.FetchFlags([]string{Seen})
				e.FetchDate(at)
				e.FetchSize(5)
				e.FetchString(FetchItem{Kind: FetchBody, Section: Section{
					Part: []uint32{1}, Text: SectionFields,
					Fields: []string{"a", "b("},
				}, Partial: &Partial{3, 9}}, "abc")
				e.FetchNil(FetchItem{Kind: FetchBody})
				e.EndFetch()
			},
		},
	} {
		if got := written(c.fn); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}

func parsed(t *testing.T, msg string) *message.Part {
	t.Helper()
	p := message.NewParser(message.Limits{})
	_, _ = io.WriteString(p, strings.ReplaceAll(msg, "\n", "\r\n"))
	root, err := p.Close()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestStructure(t *testing.T) {
	t.Parallel()
	root := parsed(t, `Date: Mon, 7 Feb 1994 21:52:25 -0800
From: "Terry \"T\" Gray" <gray@cac.washington.edu>, Grüße <b@c>
To: friends: x@y, z@w;, root
Subject: IMAP4rev1
 WG
Message-ID: <B27397-0100000@cac.washington.edu>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="B"

--B
Content-Type: text/plain; charset=utf-8
Content-Language: en, de
Content-Disposition: inline; filename="a b.txt"

hello
world

--B
Content-Type: message/rfc822
Content-Description: an "old" one

Subject: inner

x
--B
Content-Type: image/png
Content-Transfer-Encoding: base64
Content-ID: <p@q>
Content-MD5: abc==
Content-Location: http://x/

AAAA
--B--
`)
	const env = `("Mon, 7 Feb 1994 21:52:25 -0800" "IMAP4rev1 WG" (("Terry \"T\" Gray" NIL "gray" "cac.washington.edu")({7}` +
		"\r\nGrüße" + ` NIL "b" "c")) (("Terry \"T\" Gray" NIL "gray" "cac.washington.edu")({7}` + "\r\nGrüße" +
		` NIL "b" "c")) (("Terry \"T\" Gray" NIL "gray" "cac.washington.edu")({7}` + "\r\nGrüße" +
		` NIL "b" "c")) ((NIL NIL "friends" NIL)(NIL NIL "x" "y")(NIL NIL "z" "w")(NIL NIL NIL NIL)(NIL NIL "root" "")) NIL NIL NIL "<B27397-0100000@cac.washington.edu>")`
	if got := written(func(e *Encoder) { e.envelope(root.Envelope) }); got != env {
		t.Errorf("envelope\n%s\nwant\n%s", got, env)
	}
	const short = `(("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 14 2)` +
		`("message" "rfc822" NIL NIL "an \"old\" one" "7bit" 19 (NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0) 2)` +
		`("image" "png" NIL "<p@q>" NIL "base64" 4) "mixed")`
	if got := written(func(e *Encoder) { e.structure(root, false) }); got != short {
		t.Errorf("body\n%s\nwant\n%s", got, short)
	}
	const long = `(("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 14 2 NIL ("inline" ("filename" "a b.txt")) ("en" "de") NIL)` +
		`("message" "rfc822" NIL NIL "an \"old\" one" "7bit" 19 (NIL "inner" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)` +
		`("image" "png" NIL "<p@q>" NIL "base64" 4 "abc==" NIL NIL "http://x/") "mixed" ("boundary" "B") NIL NIL NIL)`
	if got := written(func(e *Encoder) { e.structure(root, true) }); got != long {
		t.Errorf("bodystructure\n%s\nwant\n%s", got, long)
	}
}

// TestBigLiteral: literals larger than the buffer come whole, and one that is short breaks the connection.
func TestBigLiteral(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("0123456789abcdef", 10000)
	got := written(func(e *Encoder) {
		for seq := 1; seq <= 3; seq++ {
			e.BeginFetch(seq)
			e.FetchString(FetchItem{Kind: FetchBody}, big)
			e.EndFetch()
		}
	})
	want := ""
	for _, seq := range []string{"1", "2", "3"} {
		want += "* " + seq + " FETCH (BODY[] {160000}\r\n" + big + ")\r\n"
	}
	if got != want {
		t.Errorf("%d octets, want %d", len(got), len(want))
	}
	e := NewEncoder(io.Discard)
	e.FetchLiteral(FetchItem{Kind: FetchBody}, 10, strings.NewReader("short"))
	if !errors.Is(e.Err(), io.ErrUnexpectedEOF) {
		t.Error(e.Err())
	}
}

func TestEncoderTrace(t *testing.T) {
	t.Parallel()
	var got []string
	e := NewEncoder(io.Discard)
	e.Trace = func(d observe.Direction, line []byte, secret bool) {
		s := string(line)
		if secret {
			s = "secret"
		}
		if d == observe.Note {
			s = "=== " + s
		}
		got = append(got, s)
	}
	e.Continuation("c2VjcmV0", true)
	e.BeginFetch(1)
	e.FetchString(FetchItem{Kind: FetchBody}, "body")
	e.FetchUID(4)
	e.EndFetch()
	for range 200 {
		e.Expunge(1)
	}
	e.Status("a", OK, "", "fine")
	_ = e.Flush()
	all := strings.Join(got, "\n")
	for _, want := range []string{"secret\n* 1 FETCH (BODY[] {4}\n=== literal of 4 octets\n UID 4)\n* 1 EXPUNGE", "=== lines not shown: 103\na OK fine"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in %q", want, all)
		}
	}
	if strings.Count(all, "EXPUNGE") != tracedLines-3 {
		t.Error(strings.Count(all, "EXPUNGE"))
	}
}

// TestFetchAllocates nothing for each message.
func TestFetchAllocates(t *testing.T) {
	e := NewEncoder(io.Discard)
	flags := []string{Seen, "$Forwarded"}
	if n := testing.AllocsPerRun(100, func() {
		for seq := range 1000 {
			e.BeginFetch(seq)
			e.FetchUID(uint32(seq))
			e.FetchFlags(flags)
			e.FetchSize(5)
			e.EndFetch()
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
