package sendmail

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"postel/internal/message"
)

func TestParse(t *testing.T) {
	t.Parallel()
	a, err := parse("sendmail", []string{"-oi", "-t", "-oem", "-fme@x.org", "-F", "Me Too", "-N", "never", "-q30m", "--", "-odd@x.org"})
	if err != nil || !a.ignoreDots || !a.extract || a.sender != "me@x.org" || a.fullName != "Me Too" || a.notify != "never" || a.recipients[0] != "-odd@x.org" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, _ := parse("mailq", nil); a.mode != printQueue {
		t.Errorf("%+v", a)
	}
	for _, bad := range [][]string{{"-bd"}, {"-f"}, {"-Z"}} {
		if _, err := parse("sendmail", bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestRecipientsOfHeader(t *testing.T) {
	t.Parallel()
	h, _ := message.ParseHeader("To: A <a@x.org>, g: b@x.org;\r\nCc: root\r\nBcc: c@x.org\r\n\r\n")
	got, err := recipients(arguments{extract: true, recipients: []string{"d@x.org"}}, &h)
	if err != nil || len(got) != 5 || got[0].Address.Local != "d" || h.Has("Bcc") {
		t.Fatalf("%+v, %v", got, err)
	}
	complete(got, "host.example")
	var all []string
	for _, r := range got {
		all = append(all, r.Address.String())
	}
	if s := strings.Join(all, " "); s != "d@x.org a@x.org b@x.org root@host.example c@x.org" {
		t.Error(s)
	}
	if _, err := recipients(arguments{}, &h); codeOf(err) != exUsage {
		t.Errorf("%v", err)
	}
}

func TestDotEndsMessage(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a\n.\nb\n": "a\n", "a\n..\nb": "a\n..\nb", ".\r\nx": "", "a.\n.": "a.\n"} {
		got, err := io.ReadAll(untilDot(bufio.NewReader(strings.NewReader(in))))
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestFromLines(t *testing.T) {
	t.Parallel()
	r := bufio.NewReader(strings.NewReader(">From a!user Mon remote from b\nFrom relay!far!me Mon Nov 23 remote from near\nSubject: x\n"))
	got, err := cutFromLine(r)
	rest, _ := io.ReadAll(r)
	if err != nil || got != "me@far" || string(rest) != "Subject: x\n" {
		t.Errorf("%q, %v, %q", got, err, rest)
	}
}
