package imap

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postel/internal/mail"
	"postel/internal/observe"
)

var roomy = Limits{Command: CommandAfterLogin, Literal: LiteralAfterLogin, Discard: 1 << 20}

// parsers is what the tests parse commands with, by name.
var parsers = map[string]func(*Decoder) Arguments{
	"NOOP":         func(d *Decoder) Arguments { return d.None() },
	"LOGIN":        func(d *Decoder) Arguments { return d.Login() },
	"AUTHENTICATE": func(d *Decoder) Arguments { return d.Authenticate() },
	"SELECT":       func(d *Decoder) Arguments { return d.Mailbox() },
	"CREATE":       func(d *Decoder) Arguments { return d.Create() },
	"RENAME":       func(d *Decoder) Arguments { return d.Rename() },
	"APPEND":       func(d *Decoder) Arguments { return d.Append() },
	"STORE":        func(d *Decoder) Arguments { return d.Store() },
	"COPY":         func(d *Decoder) Arguments { return d.Copy() },
	"UID EXPUNGE":  func(d *Decoder) Arguments { return d.UIDSet() },
	"ID":           func(d *Decoder) Arguments { return d.ID() },
	"ENABLE":       func(d *Decoder) Arguments { return d.Enable() },
	"STATUS":       func(d *Decoder) Arguments { return d.Status() },
	"LIST":         func(d *Decoder) Arguments { return d.List() },
	"LSUB":         func(d *Decoder) Arguments { return d.Lsub() },
	"FETCH":        func(d *Decoder) Arguments { return d.Fetch() },
	"SEARCH":       func(d *Decoder) Arguments { return d.Search() },
}

func parseOne(in string) (Arguments, error) {
	d := NewDecoder(strings.NewReader(in), roomy)
	_, name := d.Command()
	parse := parsers[name]
	if parse == nil {
		d.invalid("unknown command")
		return nil, d.Err()
	}
	a := parse(d)
	return a, d.Err()
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// goodCommands are commands and what they mean.
func goodCommands() map[string]Arguments {
	text := func(field, s string) SearchKey { return SearchKey{Op: SearchHeader, Field: field, Text: s} }
	return map[string]Arguments{
		"NOOP":                                     None{},
		"LOGIN alice secret":                       Login{"alice", "secret"},
		`LOGIN "al\"ice" "se\\cret"`:               Login{`al"ice`, `se\cret`},
		"LOGIN {5+}\r\nalice {6}\r\nse\r\nt!":      Login{"alice", "se\r\nt!"},
		"LOGIN {0+}\r\n \"\"":                      Login{},
		"AUTHENTICATE plain":                       Authenticate{Mechanism: "PLAIN"},
		"AUTHENTICATE PLAIN AGEAYg==":              Authenticate{"PLAIN", "AGEAYg=="},
		"AUTHENTICATE PLAIN =":                     Authenticate{"PLAIN", "="},
		"SELECT inbox":                             Mailbox{"INBOX"},
		`SELECT "~peter/mail/&U,BTFw-/&ZeVnLIqe-"`: Mailbox{"~peter/mail/台北/日本語"},
		`SELECT "Entwürfe & Co"`:                   Mailbox{"Entwürfe & Co"},
		"SELECT Entw&APw-rfe":                      Mailbox{"Entwürfe"},
		"SELECT a]b":                               Mailbox{"a]b"},
		`CREATE Sent (USE (\Sent))`:                Create{"Sent", []string{`\Sent`}},
		"RENAME a {1+}\r\nb":                       Rename{"a", "b"},
		`APPEND Sent (\seen $Forwarded) " 7-Feb-1994 21:52:25 -0800" {310}`: Append{
			"Sent",
			[]string{Seen, "$Forwarded"},
			time.Date(1994, 2, 7, 21, 52, 25, 0, time.FixedZone("", -8*3600)), 310,
		},
		"APPEND Sent {0+}":                  Append{Mailbox: "Sent"},
		`STORE 2:4 +FLAGS (\Deleted)`:       Store{SeqSet{{2, 4}}, StoreAdd, false, []string{Deleted}},
		`STORE * flags.silent \Seen a`:      Store{SeqSet{{0, 0}}, StoreReplace, true, []string{Seen, "a"}},
		`STORE 1 -FLAGS ()`:                 Store{SeqSet{{1, 1}}, StoreRemove, false, nil},
		"COPY 4:1,*:7,4294967295 Trash":     Copy{SeqSet{{4, 1}, {0, 7}, {4294967295, 4294967295}}, "Trash"},
		"UID EXPUNGE 3000:3002":             Set{SeqSet{{3000, 3002}}},
		"ID nil":                            ID{},
		`ID ("name" "x" "version" NIL)`:     ID{[]Field{{"name", "x", false}, {"version", "", true}}},
		"ENABLE CONDSTORE X-GOOD-IDEA":      Enable{[]string{"CONDSTORE", "X-GOOD-IDEA"}},
		"STATUS blurdybloop (UIDNEXT size)": Status{"blurdybloop", []StatusItem{StatusUIDNext, StatusSize}},
		`LIST "" %`:                         List{Patterns: []string{"%"}},
		`LIST /usr/staff/jones ""`:          List{Reference: "/usr/staff/jones", Patterns: []string{""}},
		`LIST (SPECIAL-USE) "" "*"`:         List{Patterns: []string{"*"}, Extended: true, Select: ListSpecialUse},
		`LIST "" (a "b*") RETURN (CHILDREN STATUS (MESSAGES))`: List{
			Patterns: []string{"a", "b*"}, Extended: true,
			Return: ListChildren, Status: []StatusItem{StatusMessages},
		},
		`LSUB "#news." "comp.mail.*"`: List{Reference: "#news.", Patterns: []string{"comp.mail.*"}},
		"FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])": Fetch{SeqSet{{2, 4}}, []FetchItem{{}, {
			Kind:    FetchBody,
			Section: Section{Text: SectionFields, Fields: []string{"DATE", "FROM"}},
		}}},
		"FETCH 1 fast": Fetch{SeqSet{{1, 1}}, []FetchItem{{}, {Kind: FetchInternalDate}, {Kind: FetchSize}}},
		"FETCH 1 FULL": Fetch{SeqSet{{1, 1}}, []FetchItem{
			{},
			{Kind: FetchInternalDate},
			{Kind: FetchSize},
			{Kind: FetchEnvelope},
			{Kind: FetchStructure},
		}},
		"FETCH 1 BODY":                          Fetch{SeqSet{{1, 1}}, []FetchItem{{Kind: FetchStructure}}},
		"FETCH 1 rfc822.header":                 Fetch{SeqSet{{1, 1}}, []FetchItem{{Kind: FetchRFC822Header, Peek: true}}},
		"FETCH 1 BODY.PEEK[]<0.2048>":           Fetch{SeqSet{{1, 1}}, []FetchItem{{Kind: FetchBody, Peek: true, Partial: &Partial{0, 2048}}}},
		"FETCH 1 BODY[4.2.MIME]":                Fetch{SeqSet{{1, 1}}, []FetchItem{{Kind: FetchBody, Section: Section{Part: []uint32{4, 2}, Text: SectionMIME}}}},
		"FETCH 1 BODY[1.TEXT]":                  Fetch{SeqSet{{1, 1}}, []FetchItem{{Kind: FetchBody, Section: Section{Part: []uint32{1}, Text: SectionBodyText}}}},
		"SEARCH ALL":                            Search{Key: SearchKey{Op: SearchAll}},
		"SEARCH 1:*":                            Search{Key: SearchKey{Op: SearchSeq, Set: SeqSet{{1, 0}}}},
		"SEARCH SENTSINCE 1-feb-1994":           Search{Key: SearchKey{Op: SearchSentSince, Date: day(1994, 2, 1)}},
		`SEARCH on "01-Feb-1994"`:               Search{Key: SearchKey{Op: SearchOn, Date: day(1994, 2, 1)}},
		"SEARCH HEADER X-Spam \"\"":             Search{Key: text("X-Spam", "")},
		"SEARCH CHARSET UTF-8 TEXT {6+}\r\nмск": Search{Charset: "UTF-8", Key: SearchKey{Op: SearchText, Text: "мск"}},
		"SEARCH RETURN (MIN count) NOT (DELETED OR FROM x KEYWORD $Junk) UID 5 LARGER 7": Search{
			Extended: true,
			Return:   ReturnMin | ReturnCount, Key: SearchKey{Op: SearchAnd, Keys: []SearchKey{
				{Op: SearchNot, Keys: []SearchKey{{Op: SearchAnd, Keys: []SearchKey{
					{Op: SearchFlag, Text: Deleted},
					{Op: SearchOr, Keys: []SearchKey{text("From", "x"), {Op: SearchFlag, Text: "$Junk"}}},
				}}}},
				{Op: SearchUID, Set: SeqSet{{5, 5}}},
				{Op: SearchLarger, Number: 7},
			}},
		},
		"SEARCH RETURN () NEW": Search{Extended: true, Return: ReturnAll, Key: SearchKey{Op: SearchNew}},
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for in, want := range goodCommands() {
		got, err := parseOne("a1 " + in + "\r\n")
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		sameTime := cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })
		if d := cmp.Diff(want, got, sameTime); d != "" {
			t.Errorf("%s: %s", in, d)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", "NOOP x", "NOOP ", "LOGIN a", "LOGIN a  b", `LOGIN "a`, `LOGIN "\x" b`, "LOGIN a {3",
		"LOGIN a {-1}", "SELECT &AGE-", "SELECT &bad", "SELECT &AAA-", "SELECT \"\xff\"", "SELECT a%b", "FETCH 0 FLAGS",
		"FETCH 1: FLAGS", "FETCH 1,,2 FLAGS", "FETCH 1 ()", "FETCH 1 (FLAGS", "FETCH 1 FLAGS UID", "FETCH 1 BODY[",
		"FETCH 1 BODY[]<1.0>", "FETCH 1 BODY[MIME]", "FETCH 1 BODY[HEADER.FIELDS ()]", "FETCH 4294967296 FLAGS",
		"FETCH 1 BODY[0]", "FETCH 1 XYZ", "STORE 1 FLAGS", "STORE 1 *FLAGS (a)", "SEARCH", "SEARCH XYZ", "SEARCH OR ALL",
		"SEARCH (ALL", "SEARCH ALL)", "SEARCH ON 32-Jan-2020", "SEARCH HEADER a:b c", "SEARCH RETURN (SAVE) ALL",
		"STATUS a ()", "STATUS a (X)", `LIST "" a RETURN (X)`, `LIST (RECURSIVEMATCH) "" a`, "ID (a b)",
		"APPEND a", `APPEND a "1-Feb-1994 21:52:25 -0800" {1}`, "ENABLE", "A\x00B",
	} {
		if _, err := parseOne("a1 " + in + "\r\n"); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %v, want an error of Kind Invalid", in, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"depth": "SEARCH " + strings.Repeat("(", 40) + "ALL" + strings.Repeat(")", 40),
		"not":   "SEARCH " + strings.Repeat("NOT ", 40) + "ALL",
		"keys":  "SEARCH" + strings.Repeat(" ALL", maxKeys+1),
		"sets":  "FETCH 1" + strings.Repeat(",1", maxRanges) + " FLAGS",
		"items": "FETCH 1 (UID" + strings.Repeat(" UID", maxItems) + ")",
	} {
		if _, err := parseOne("a1 " + in + "\r\n"); !mail.Is(err, mail.TooMany) {
			t.Errorf("%s: %v, want an error of Kind TooMany", name, err)
		}
	}
}

// TestResync: whatever was wrong with the first command, the second is read, and no octet of a literal is taken
// for a command.
func TestResync(t *testing.T) {
	t.Parallel()
	small := Limits{Command: 200, Literal: 20, Discard: 1000}
	evil := "x LOGOUT\r\n"
	for _, c := range []struct {
		in    string
		asked int // continuations sent
	}{
		{"a1 LOGIN a\r\n", 0},
		{"a1 XYZ {10+}\r\n" + evil + "\r\n", 0},
		{"a1 XYZ {10+}\r\n" + evil + " {10+}\r\n" + evil + "\r\n", 0},
		{"a1 XYZ {10}\r\n", 0}, // the client waits; we answer BAD
		{"a1 LOGIN {10+}\r\n" + evil + "\r\n", 0},
		{"a1 LOGIN {10}\r\n" + evil + " b c\r\n", 1},
		{"a1 LOGIN {30+}\r\n" + evil + evil + evil + " b\r\n", 0},
		{"a1 LOGIN {30}\r\n", 0},
		{"a1 LOGIN \"abc{10+}\r\n" + evil + "\r\n", 0},
		{"a1 LOGIN " + strings.Repeat("x", 300) + "{10+}\r\n" + evil + "\r\n", 0},
		{"a1 " + strings.Repeat("y", 400) + "\r\n", 0},
		{"\r\n", 0},
		{"{10+}\r\n" + evil + "\r\n", 0},
		{"a1 LOGIN a b\n", 0}, // a bare LF ends a line
	} {
		d := NewDecoder(strings.NewReader(c.in+"a2 LOGIN c d\r\n"), small)
		asked := 0
		d.Continue = func() error { asked++; return nil }
		_, name := d.Command()
		if parse := parsers[name]; parse != nil {
			parse(d)
		} else {
			d.invalid("unknown")
		}
		if err := d.Finish(); err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		tag, name := d.Command()
		got := d.Login()
		if tag != "a2" || name != "LOGIN" || got != (Login{"c", "d"}) || d.Err() != nil {
			t.Errorf("%q: then %q %q %v, %v", c.in, tag, name, got, d.Err())
		}
		if asked != c.asked {
			t.Errorf("%q: %d continuations, want %d", c.in, asked, c.asked)
		}
	}
}

func TestResyncGivesUp(t *testing.T) {
	t.Parallel()
	small := Limits{Command: 200, Literal: 20, Discard: 1000}
	for _, in := range []string{
		"a1 XYZ {1001+}\r\n", "a1 XYZ {9223372036854775807+}\r\n", "a1 XYZ {99999999999999999999+}\r\n",
		"a1 " + strings.Repeat("z", 9000) + "\r\n",
		"a1 XYZ {600+}\r\n" + strings.Repeat("z", 600) + "{600+}\r\n",
	} {
		d := NewDecoder(strings.NewReader(in), small)
		d.Command()
		d.invalid("unknown")
		if err := d.Finish(); !errors.Is(err, errResync) {
			t.Errorf("%.40q: %v", in, err)
		}
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	in := "a1 APPEND x {5}\r\nhello\r\na2 APPEND x {3+}\r\nabc oops\r\na3 APPEND x {4+}\r\nx LO\r\na4 APPEND x {4}\r\na5 NOOP\r\n"
	d := NewDecoder(strings.NewReader(in), Limits{Command: 100, Literal: 2, Discard: 100})
	asked := 0
	d.Continue = func() error { asked++; return nil }

	d.Command()
	if a := d.Append(); a.Size != 5 {
		t.Fatal(a)
	}
	b, err := io.ReadAll(d.OpenMessage())
	if string(b) != "hello" || err != nil || d.EndMessage() != nil || d.Finish() != nil || asked != 1 {
		t.Fatalf("%q %v %v, asked %d", b, err, d.Err(), asked)
	}
	d.Command()
	d.Append()
	b, _ = io.ReadAll(d.OpenMessage())
	if err := d.EndMessage(); string(b) != "abc" || !mail.Is(err, mail.Invalid) || d.Finish() != nil || asked != 1 {
		t.Fatalf("%q %v", b, err)
	}
	d.Command() // refused without being read
	d.Append()
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	d.Command() // refused: the client never sends it
	d.Append()
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	if tag, name := d.Command(); tag != "a5" || name != "NOOP" || asked != 1 {
		t.Fatalf("%q %q", tag, name)
	}
}

func TestTrace(t *testing.T) {
	t.Parallel()
	var got []string
	d := NewDecoder(strings.NewReader("a1 LOGIN a {6+}\r\nsecret\r\na2 SELECT {1+}\r\nx\r\n"), roomy)
	d.Trace = func(_ observe.Direction, line []byte, secret bool) {
		got = append(got, map[bool]string{true: "secret ", false: ""}[secret]+string(line))
	}
	d.Command()
	d.Secret()
	d.Login()
	d.Command()
	d.Public()
	d.Mailbox()
	want := []string{"secret a1 LOGIN a {6+}", "secret secret", "secret ", "a2 SELECT {1+}", "x", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMailboxNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, wire string }{
		{"INBOX", "INBOX"}, {"a&b", "a&-b"}, {"é&é", "&AOk-&-&AOk-"}, {"日本語", "&ZeVnLIqe-"}, {"😀x", "&2D3eAA-x"}, {"", ""},
	} {
		if got := EncodeMailbox(c.name); got != c.wire {
			t.Errorf("EncodeMailbox(%q) = %q, want %q", c.name, got, c.wire)
		}
		if got, ok := DecodeMailbox(c.wire); got != c.name || !ok {
			t.Errorf("DecodeMailbox(%q) = %q, %v", c.wire, got, ok)
		}
	}
}

func TestRanges(t *testing.T) {
	t.Parallel()
	got := SeqSet{{5, 3}, {4, 6}, {8, 8}, {7, 7}, {0, 20}, {4294967295, 30}}.Resolve(22)
	if d := cmp.Diff([]Range{{3, 8}, {20, 22}, {30, 4294967295}}, got); d != "" {
		t.Error(d)
	}
	for n, want := range map[uint32]bool{2: false, 3: true, 8: true, 9: false, 22: true, 4294967295: true} {
		if InRanges(got, n) != want {
			t.Errorf("InRanges(%d) = %v", n, !want)
		}
	}
	if got := (SeqSet{{1, 0}}).Resolve(0); len(got) != 1 || got[0] != (Range{0, 1}) {
		t.Error(got)
	}
	if got := string(AppendSet(nil, []uint32{1, 2, 3, 5, 7, 8})); got != "1:3,5,7:8" {
		t.Error(got)
	}
}
