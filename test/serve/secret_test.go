package serve

import (
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

// TestSecret: a secret for CRAM-MD5 and APOP is made with and without a server, told once, and is not the password.
func TestSecret(t *testing.T) {
	t.Parallel()
	harness.Need(t, "python3", "curl")
	file := harness.WriteConfig(t, company+"\n[auth]\ncram_md5 = \"on\"\n")
	addAccounts(t, file)
	made := want(t, 0, file, "", "account", "secret", ann, "--for", "pop3,submission")
	first := strings.TrimSpace(made)
	if len(first) != 26 || strings.Count(made, "\n") != 1 {
		t.Errorf("%q", made)
	}
	want(t, 2, file, "", "account", "secret", ann, "--for", "smtp")
	want(t, 1, file, "", "account", "secret", "nobody@example.test")
	want(t, 1, file, "", "account", "secret", ben, "--remove")
	s := harness.ServeFile(t, file)

	offers := func() string {
		t.Helper()
		out, _ := harness.Run(t, "", "curl", "-sSv", "--ssl-reqd", "-k", "smtp://"+s.Addr("submission"), "-X", "NOOP")
		return out
	}
	if got := offers(); strings.Contains(got, "CRAM-MD5") || !strings.Contains(got, "SCRAM-SHA-256-PLUS") {
		t.Errorf("offered while ben has no secret:\n%s", got)
	}
	second := objects(t, want(t, 0, file, "", "account", "secret", ben, "--for", "pop3,submission", "--json"))[0]
	if second["address"] != ben || second["for"] != "pop3,submission" || len(second["secret"].(string)) != 26 || second["secret"] == first {
		t.Errorf("%v", second)
	}
	if got := offers(); !strings.Contains(got, "CRAM-MD5") {
		t.Errorf("not offered though everybody has a secret:\n%s", got)
	}
	script := fmt.Sprintf(`
import poplib, smtplib, ssl, sys
ctx = ssl.create_default_context()
ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
good, bad = "%s", sys.argv[1]
def smtp(secret):
    c = smtplib.SMTP("127.0.0.1", %d)
    c.starttls(context=ctx)
    c.ehlo()
    c.user, c.password = "%s", secret
    return c.auth("CRAM-MD5", c.auth_cram_md5, initial_response_ok=False)[0]
def pop(secret):
    c = poplib.POP3("127.0.0.1", %d)
    c.stls(context=ctx)
    return c.apop("%s", secret)
assert smtp(good) == 235 and pop(good).startswith(b"+OK")
for fn in smtp, pop:
    try:
        fn(bad)
        sys.exit("let in with the password")
    except (smtplib.SMTPAuthenticationError, poplib.error_proto):
        pass
try:
    poplib.POP3("127.0.0.1", %d).apop("%s", good)
    sys.exit("let in in clear")
except poplib.error_proto:
    pass
`, first, s.Ports["submission"], ann, s.Ports["pop3"], ann, s.Ports["pop3"], ann)
	if out, code := harness.Run(t, script, "python3", "-", password); code != 0 {
		t.Errorf("%s", out)
	}
	want(t, 0, file, "", "account", "secret", ann, "--remove")
	if got := offers(); strings.Contains(got, "CRAM-MD5") {
		t.Errorf("offered though ann has no secret any more:\n%s", got)
	}
}
