package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postel/test/harness"
)

// fill sends n messages to alice.
func fill(t *testing.T, s *harness.Server, n int) {
	t.Helper()
	harness.Need(t, "curl")
	for i := range n {
		mail := write(t, "m.eml", fmt.Sprintf("From: x@example.net\r\nTo: %s\r\nSubject: no %d\r\n\r\nline\r\n.dot\r\n\r\n", alice, i))
		run(t, "", "curl", "-sS", "--mail-from", "x@example.net", "--mail-rcpt", alice, "-T", mail, "smtp://"+s.Addr("smtp"))
	}
}

func TestFetchmail(t *testing.T) {
	t.Parallel()
	harness.Need(t, "fetchmail")
	for _, proto := range []string{"pop3", "imap"} {
		s := harness.Dev(t)
		fill(t, s, 3)
		out := filepath.Join(t.TempDir(), "mbox")
		conf := write(t, "fetchmailrc", fmt.Sprintf("poll 127.0.0.1 protocol %s port %s timeout 20\n username %q password %q\n sslproto '' \n mda \"cat >>%s\"\n",
			proto, port(s, proto), alice, password, out))
		text, code := harness.Run(t, "", "fetchmail", "-f", conf, "--nodetach", "--pidfile", filepath.Join(t.TempDir(), "pid"), "-v")
		if code != 0 {
			t.Fatalf("%s: exit %d\n%s", proto, code, text)
		}
		b, err := os.ReadFile(out)
		if err != nil || strings.Count(string(b), "\nSubject: no ") != 3 || !strings.Contains(string(b), "\n.dot\n") {
			t.Errorf("%s: %v\n%s", proto, err, b)
		}
		if got := inbox(t, s, alice); len(got) != 0 { // fetchmail deletes what it fetched
			t.Errorf("%s: %d messages are left", proto, len(got))
		}
	}
}

func TestGetmail(t *testing.T) {
	t.Parallel()
	harness.Need(t, "getmail")
	s := harness.Dev(t)
	fill(t, s, 3)
	for _, kind := range []string{"SimplePOP3Retriever", "SimpleIMAPRetriever"} {
		state := t.TempDir()
		mbox := write(t, "mbox", "")
		proto := map[string]string{"SimplePOP3Retriever": "pop3", "SimpleIMAPRetriever": "imap"}[kind]
		conf := write(t, "getmailrc", fmt.Sprintf("[retriever]\ntype = %s\nserver = 127.0.0.1\nport = %s\nusername = %s\npassword = %s\n[destination]\ntype = MDA_external\npath = /usr/bin/tee\narguments = (\"-a\", \"%s\")\nallow_root_commands = true\nunixfrom = true\n[options]\nread_all = false\n",
			kind, port(s, proto), alice, password, mbox))
		for range 2 { // the second run finds nothing new, by UIDL and by UID
			run(t, "", "getmail", "--getmaildir", state, "--rcfile", conf)
		}
		if b, err := os.ReadFile(mbox); err != nil || strings.Count(string(b), "\nSubject: no ") != 3 {
			t.Errorf("%s: %v\n%s", kind, err, b)
		}
	}
}

func TestNeomutt(t *testing.T) {
	t.Parallel()
	harness.Need(t, "neomutt")
	s := harness.Dev(t)
	fill(t, s, 2)
	home := t.TempDir()
	conf := write(t, "muttrc", fmt.Sprintf(`set folder="imap://127.0.0.1:%s/"
set spoolfile="+INBOX"
set imap_user=%q imap_pass=%q ssl_starttls=no ssl_force_tls=no header_cache="" from=%q
set smtp_url="smtp://%s@127.0.0.1:%s/" smtp_pass=%q copy=no quit=yes confirmappend=no resolve=no
`, port(s, "imap"), alice, password, alice, strings.ReplaceAll(alice, "@", "%40"), port(s, "submission"), password))
	t.Logf("home %s", home)
	// Send one by submission.
	run(t, "by neomutt\n", "env", "HOME="+home, "neomutt", "-n", "-F", conf, "-s", "mutt wrote", bob)
	wantInbox(t, s, bob, "mutt wrote")
	// Open INBOX, flag the first, copy it to Archive, delete the second, leave.
	run(t, "", "env", "HOME="+home, "TERM=xterm", "script", "-qec",
		"neomutt -n -F "+conf+" -e 'set delete=yes' -e 'push <first-entry><flag-message><copy-message>=Archive<enter><last-entry><delete-message><quit>'", "/dev/null")
	flags := run(t, "", "curl", "-sS", "-u", alice+":"+password, "imap://"+s.Addr("imap")+"/INBOX", "-X", "FETCH 1:* (FLAGS)")
	if strings.Count(flags, "FETCH") != 1 || !strings.Contains(flags, `\Flagged`) {
		t.Errorf("after neomutt: %s", flags)
	}
	if out := run(t, "", "curl", "-sS", "-u", alice+":"+password, "imap://"+s.Addr("imap")+"/Archive;UID=1"); !strings.Contains(out, "Subject: no 0") {
		t.Errorf("not copied: %q", out)
	}
}

// pythonScript drives smtplib, imaplib and poplib.
const pythonScript = `
import smtplib, imaplib, poplib, ssl, sys
sub, imap, pop, ca, user, password = sys.argv[1:]
ctx = ssl.create_default_context(cafile=ca)
with smtplib.SMTP('localhost', int(sub)) as c:
    c.starttls(context=ctx)
    c.login(user, password)
    assert c.sendmail(user, [user], 'From: %s\r\nSubject: python\r\n\r\nhello\r\n.dot\r\n' % user) == {}
    assert c.verify(user)[0] == 250
m = imaplib.IMAP4('localhost', int(imap))
m.starttls(ctx)
m.login(user, password)
assert m.select('INBOX')[1] == [b'1'], 'exists'
typ, data = m.search(None, 'SUBJECT', 'python')
assert data == [b'1'], data
typ, data = m.fetch('1', '(FLAGS ENVELOPE BODYSTRUCTURE BODY[TEXT])')
assert b'hello\r\n.dot\r\n' in data[0][1], data
assert m.append('Drafts', r'(\Draft)', imaplib.Time2Internaldate(0), b'Subject: d\r\n\r\nx\r\n')[0] == 'OK'
assert m.copy('1', 'Archive')[0] == 'OK'
assert m.store('1', '+FLAGS', r'(\Deleted)')[0] == 'OK'
assert m.create('Lists/go')[0] == 'OK' and m.rename('Lists/go', 'Lists/golang')[0] == 'OK'
assert b'Lists/golang' in b' '.join(m.list()[1])
assert m.delete('Lists/golang')[0] == 'OK'
m.close(); m.logout()
p = poplib.POP3('localhost', int(pop))
p.stls(ctx)
p.user(user); p.pass_(password)
assert p.stat()[0] == 0, p.stat()
p.quit()
p = poplib.POP3('localhost', int(pop))
p.apop(user, password)
p.quit()
print('done')
`

func TestPython(t *testing.T) {
	t.Parallel()
	harness.Need(t, "python3")
	s := harness.Dev(t)
	out := run(t, "", "python3", write(t, "t.py", pythonScript), port(s, "submission"), port(s, "imap"), port(s, "pop3"),
		filepath.Join(s.Data, "ca.pem"), alice, password)
	if !strings.Contains(out, "done") {
		t.Error(out)
	}
}
