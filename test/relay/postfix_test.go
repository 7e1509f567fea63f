package relay

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postel/test/harness"
)

// postfix is an instance of its own: nothing of the system's is read or written.
type postfix struct {
	t    *testing.T
	dir  string
	addr string
}

// startPostfix starts Postfix at an address of loopback; mail for foreign.test goes into one maildir, all else to the
// relay host. It needs root, as Postfix does.
func startPostfix(t *testing.T, ip string, port int, relay string) *postfix {
	t.Helper()
	harness.Need(t, "postfix", "postconf")
	if os.Getuid() != 0 {
		t.Skip("Postfix is started by root only")
	}
	p := &postfix{t: t, dir: harness.Dir(t), addr: fmt.Sprintf("%s:%d", ip, port)}
	if _, err := user.Lookup("postfix"); err != nil {
		t.Skip("there is no user postfix")
	}
	nobody := lookup(t, "nobody")
	cert := filepath.Dir(harness.WriteConfig(t, "")) // its certificate serves
	for _, d := range []string{"etc", "spool", "data", "vmail"} {
		if err := os.Mkdir(p.dir+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own(t, p.dir+"/data", lookup(t, "postfix"))
	own(t, p.dir+"/vmail", nobody)
	p.write("etc/main.cf", fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = %[2]s
mail_owner = postfix
setgid_group = postdrop
maillog_file = %[1]s/mail.log
maillog_file_prefixes = %[1]s
myhostname = mx.foreign.test
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
virtual_mailbox_domains = foreign.test
virtual_mailbox_base = %[1]s/vmail
virtual_mailbox_maps = static:all/Maildir/
virtual_minimum_uid = 1
virtual_uid_maps = static:%[4]d
virtual_gid_maps = static:%[5]d
relayhost = %[6]s
smtp_dns_support_level = disabled
smtp_tls_security_level = may
smtp_bind_address = %[3]s
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_cert_file = %[7]s/cert.pem
smtpd_tls_key_file = %[7]s/key.pem
`, p.dir, daemons(t), ip, nobody[0], nobody[1], relay, cert))
	p.write("etc/master.cf", fmt.Sprintf(`%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`, p.addr))
	p.do("start")
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(p.dir + "/mail.log")
			t.Logf("Postfix's log:\n%s", log[max(0, len(log)-6000):])
		}
		p.do("stop")
	})
	return p
}

func lookup(t *testing.T, name string) (ids [2]int) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(u.Uid+" "+u.Gid, &ids[0], &ids[1]); err != nil {
		t.Fatal(err)
	}
	return ids
}

func own(t *testing.T, path string, ids [2]int) {
	t.Helper()
	if err := os.Chown(path, ids[0], ids[1]); err != nil {
		t.Fatal(err)
	}
}

func daemons(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("postconf", "-d", "-h", "daemon_directory").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (p *postfix) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // Postfix wants to read it
		p.t.Fatal(err)
	}
}

// do runs the postfix command.
func (p *postfix) do(verb string) {
	p.t.Helper()
	if out, code := harness.Run(p.t, "", "/usr/sbin/postfix", "-c", p.dir+"/etc", verb); code != 0 {
		log, _ := os.ReadFile(p.dir + "/mail.log")
		p.t.Errorf("postfix %s: exit %d\n%s%s", verb, code, out, log)
	}
}

// restart has new settings read. After a reload, on a busy machine, nobody may answer a connection for minutes: its smtpd ends
// for the new settings, and master waits for it.
func (p *postfix) restart() {
	p.t.Helper()
	p.do("stop")
	p.do("start")
}

// maildir waits for n messages.
func (p *postfix) maildir(n int) []string {
	p.t.Helper()
	var all []string
	harness.Eventually(p.t, func() error {
		files, _ := filepath.Glob(p.dir + "/vmail/all/Maildir/new/*")
		if len(files) != n {
			return fmt.Errorf("Postfix delivered %d messages, want %d", len(files), n)
		}
		all = nil
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return err
			}
			all = append(all, string(b))
		}
		return nil
	})
	return all
}

// TestToPostfix: found by MX through DNS, under TLS, one transaction for all recipients, and byte for byte.
func TestToPostfix(t *testing.T) {
	t.Parallel()
	w := open(t)
	p := startPostfix(t, "127.0.0.5", w.port, "")
	w.submit(t, alice, "pf", "a@foreign.test", "b@foreign.test", "c@foreign.test")
	trace := regexp.MustCompile(`(?s)^Return-Path: <alice@postel\.test>\nX-Original-To: [abc]@foreign\.test\nDelivered-To: [abc]@foreign\.test\n` +
		`Received: from postel\.test \([^\n]*\[127\.0\.0\.1\]\)\n.*\(using TLSv1\.3 .*by mx\.foreign\.test \(Postfix\) with ESMTPS id .*\n` +
		`Received: from client\.test \(\[127\.0\.0\.1\]\)\n\tby postel\.test with ESMTPSA\n\t[^\n]*\n\t[A-Z][a-z]{2}, [^\n]*\n$`)
	ids := map[string]bool{}
	for _, got := range p.maildir(3) {
		head, ok := strings.CutSuffix(got, strings.ReplaceAll(letter("pf"), "\r\n", "\n"))
		if !ok || !trace.MatchString(head) {
			t.Errorf("%s", got)
		}
		ids[regexp.MustCompile(`with ESMTPS id (\w+)`).FindString(got)] = true
	}
	if len(ids) != 1 {
		t.Errorf("%d transactions, want one", len(ids))
	}
	w.queued(t, 0, 0)
	var shown string
	for _, s := range w.objects(t, "glass", "list") {
		if s["outbound"] == true {
			shown += w.ok(t, "glass", "show", s["id"].(string))
		}
	}
	if !strings.Contains(shown, " -> STARTTLS") || !strings.Contains(shown, " ~> MAIL FROM:<"+alice+">") {
		t.Errorf("%s", shown)
	}
}

// TestFromPostfix: Postfix sends us what it takes, with and without TLS, and what Received says is so.
func TestFromPostfix(t *testing.T) {
	t.Parallel()
	w := open(t)
	p := startPostfix(t, "127.0.0.6", w.port, fmt.Sprintf("[127.0.0.1]:%d", w.port))
	for i, one := range []struct{ level, with string }{{"may", "ESMTPS"}, {"none", "ESMTP"}} {
		if i > 0 {
			if out, code := harness.Run(t, "", "postconf", "-c", p.dir+"/etc", "-e", "smtp_tls_security_level="+one.level); code != 0 {
				t.Fatal(out)
			}
			p.restart()
		}
		c := harness.SMTP(t, p.addr)
		if r := c.Send("someone@foreign.test", alice, strings.ReplaceAll(letter("from-pf"), "\r\n.", "\r\n..")); !strings.HasPrefix(r, "250 ") {
			t.Fatal(r)
		}
		var all []string
		harness.Eventually(t, func() error {
			if all = w.Inbox(alice, password); len(all) != i+1 {
				return fmt.Errorf("%d messages, want %d", len(all), i+1)
			}
			return nil
		})
		want := regexp.MustCompile(`(?s)^Return-Path: <someone@foreign\.test>\r\nDelivered-To: alice@postel\.test\r\nReceived: from mx\.foreign\.test \(\[127\.0\.0\.6\]\)\r\n` +
			`\tby postel\.test with ` + one.with + `( id m-|\r\n\t\(TLS 1\.3 [^\r]*\) id m-)[0-9a-v]{16}\r\n\tfor <alice@postel\.test>;\r\n.*Received: from client\.test .*by mx\.foreign\.test \(Postfix\) with ESMTP id .*` +
			regexp.QuoteMeta(letter("from-pf")) + `$`)
		if !want.MatchString(all[i]) {
			t.Errorf("%s: %s", one.level, all[i])
		}
	}
	c := harness.SMTP(t, p.addr)
	if r := c.Send("someone@foreign.test", "nobody@postel.test", letter("unknown")); !strings.HasPrefix(r, "250 ") {
		t.Fatal(r)
	}
	if got := p.maildir(1)[0]; !strings.Contains(got, "Status: 5.1.1") || !strings.Contains(got, "550 5.1.1") { // Postfix's own report
		t.Errorf("%s", got)
	}
}

// TestETRNToPostfix: Postfix holds mail for us while we are away, and sends it when `postel queue etrn` asks for it.
func TestETRNToPostfix(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	p := startPostfix(t, "127.0.0.7", port, fmt.Sprintf("[127.0.0.1]:%d", port))
	if out, code := harness.Run(t, "", "postconf", "-c", p.dir+"/etc", "-e", "relay_domains=postel.test", "fast_flush_domains=postel.test"); code != 0 {
		t.Fatal(out)
	}
	p.restart()
	c := harness.SMTP(t, p.addr)
	if r := c.Send("someone@foreign.test", alice, strings.ReplaceAll(letter("held"), "\r\n.", "\r\n..")); !strings.HasPrefix(r, "250 ") {
		t.Fatal(r)
	}
	harness.Eventually(t, func() error {
		log, err := os.ReadFile(p.dir + "/mail.log")
		if err == nil && !strings.Contains(string(log), "status=deferred") {
			err = fmt.Errorf("it is not deferred:\n%s", log)
		}
		return err
	})
	s := harness.Dev(t, "--port", fmt.Sprintf("smtp=%d", port), "--account", alice+":"+password)
	harness.Eventually(t, func() error { // its flush server learns of the deferred message a moment later
		if out, code := s.Postel("queue", "etrn", p.addr, "postel.test"); code != 0 {
			return fmt.Errorf("exit %d: %s", code, out)
		}
		if got := s.Inbox(alice, password); len(got) != 1 {
			return fmt.Errorf("%d messages", len(got))
		}
		return nil
	})
	if out, code := s.Postel("queue", "etrn", p.addr, "foreign.test"); code != 1 || !strings.Contains(out, "459 ") {
		t.Errorf("exit %d: %s", code, out)
	}
}
