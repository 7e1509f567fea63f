package relay

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// unbound is a resolver that validates, with zones of its own: what it says of DNSSEC is a foreign program's word.
type unbound struct {
	t    *testing.T
	dir  string
	conf strings.Builder
}

func (u *unbound) run(program string, args ...string) string {
	u.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = u.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		u.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func (u *unbound) write(name, text string) {
	u.t.Helper()
	if err := os.WriteFile(u.dir+"/"+name, []byte(text), 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// zone adds a zone that is signed, or not; one whose keys are others than those that the resolver believes is forged.
func (u *unbound) zone(name, records string, signed, forged bool) {
	u.t.Helper()
	u.write(name, fmt.Sprintf("$ORIGIN %[1]s.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 300\n@ NS ns\nns A 127.0.0.1\n%[2]s", name, records))
	file := name
	if signed {
		key := u.run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name)
		u.run("ldns-signzone", "-f", name+".signed", name, key)
		file = name + ".signed"
		if forged {
			key = u.run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name)
		}
		fmt.Fprintf(&u.conf, "server:\n trust-anchor-file: %s/%s.key\n", u.dir, key)
	}
	fmt.Fprintf(&u.conf, "auth-zone:\n name: %s\n zonefile: %s/%s\n for-upstream: yes\n for-downstream: no\n fallback-enabled: no\n", name, u.dir, file)
}

// start runs it and gives its address.
func (u *unbound) start() string {
	u.t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(u.t))
	_, port, _ := net.SplitHostPort(addr)
	u.write("unbound.conf", `server:
 interface: 127.0.0.1
 port: `+port+`
 chroot: ""
 username: ""
 pidfile: ""
 directory: "`+u.dir+`"
 use-syslog: no
 do-daemonize: no
 do-ip6: no
 module-config: "validator iterator"
 local-zone: "test." nodefault
remote-control:
 control-enable: no
`+u.conf.String())
	log, err := os.Create(u.dir + "/log")
	if err != nil {
		u.t.Fatal(err)
	}
	cmd := exec.Command("unbound", "-d", "-c", u.dir+"/unbound.conf")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if said, err := os.ReadFile(u.dir + "/log"); err == nil && u.t.Failed() {
			u.t.Logf("unbound: %s", said)
		}
	})
	harness.Eventually(u.t, func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	return addr
}

// TestUnbound: DANE with a foreign validator: what is signed counts, what is not does not, what is forged is no answer.
func TestUnbound(t *testing.T) {
	t.Parallel()
	harness.Need(t, "unbound", "ldns-keygen", "ldns-signzone")
	a := newAuthority(t)
	server := a.host("whatever.test")
	hosts := func(record string) string {
		return "@ MX 10 mx\nmx A 127.0.0.2\n_25._tcp.mx TLSA " + record + "\n"
	}
	fits, differs := tlsa(t, server), "3 1 1 "+strings.Repeat("ab", 32)
	u := &unbound{t: t, dir: harness.Dir(t)}
	u.zone("safe.test", hosts(fits), true, false)
	u.zone("wrong.test", hosts(differs), true, false)
	u.zone("bare.test", "@ MX 10 mx\nmx A 127.0.0.2\n", true, false)
	u.zone("plain.test", hosts(differs), false, false)
	u.zone("forged.test", hosts(fits), true, true)
	u.zone("mixed.test", "@ MX 10 mx.plain.test.\n", true, false) // signed, at a host that is not
	addr := u.start()
	w := &world{port: harness.FreePort(t)}
	w.Server = harness.DevWith(t, []string{"SSL_CERT_FILE=" + a.path}, "--deliver", "relay", "--dns", addr,
		"--mx-port", fmt.Sprint(w.port), "--port", fmt.Sprintf("smtp=%d", w.port), "--account", alice+":"+password)
	s := single{w.sink(t, "127.0.0.2")}
	s.offer(server)
	for i, domain := range []string{"safe.test", "bare.test", "plain.test", "mixed.test"} {
		w.submit(t, alice, domain, "x@"+domain)
		if got := taken(t, s.Sink, i+1)[i]; !got.TLS {
			t.Errorf("%s: in clear", domain)
		}
	}
	w.submit(t, alice, "wrong", "x@wrong.test")
	w.waits(t, "451 4.7.5 TLS handshake failed: the certificate fits none of the TLSA records")
	w.submit(t, alice, "forged", "x@forged.test")
	w.waits(t, "451 4.4.3 ")
	for domain, says := range map[string]string{
		"safe.test": "its certificate must fit one", "bare.test": "no TLSA records", "plain.test": "DNSSEC does not vouch",
		"mixed.test": "no DNSSEC for its addresses", "forged.test": "cannot look up",
	} {
		if out, code := w.Postel("tlsa", domain, "--dns", addr); !strings.Contains(out, says) || (code == 0) != (domain == "safe.test") {
			t.Errorf("tlsa %s: exit %d: %s", domain, code, out)
		}
	}
}
