package smtp

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"postel/internal/mail"
)

// FuzzClient lets a server say anything. Whatever it is, each recipient has a verdict that makes sense, and none is
// delivered unless as many replies said so as the protocol needs.
func FuzzClient(f *testing.F) {
	for _, s := range []string{
		"220 hi\r\n250-mx\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n250 ok\r\n",
		"220 hi\r\n250-mx\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n250 taken\r\n452 full\r\n",
		"220 hi\r\n250 mx\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n421 4.3.2 bye\r\n",
		"220 hi\r\n500 what\r\n250 mx\r\n250 ok\r\n552 x\r\n552 x\r\n", "220-\r\n220-\n220 \n", "554 no\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, lmtp bool) {
		e := envelope("a@x.org", "b@y.org", "é@y.org", "c@y.org")
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() {
			_, _ = theirs.Write(in)
			_ = theirs.Close()
		}()
		_ = ours.SetDeadline(time.Now().Add(5 * time.Second))
		c := NewClient(ours, ClientOptions{Hello: "x", LMTP: lmtp})
		defer func() { _ = c.Close() }()
		ctx := context.Background()
		if _, err := c.Greet(ctx); err != nil {
			check(t, in, ResultOf(err, ""))
			return
		}
		if _, err := c.Hello(ctx); err != nil {
			check(t, in, ResultOf(err, ""))
			return
		}
		for _, size := range []int64{4, 0} { // by BDAT where that is offered, and by DATA
			e.Size = size
			res, err := c.Send(ctx, e, strings.NewReader("text"))
			if len(res) != len(e.Recipients) {
				t.Fatalf("%q: %d results", in, len(res))
			}
			delivered := 0
			for _, r := range res {
				check(t, in, r)
				if r.Delivered() {
					delivered++
				}
			}
			// MAIL, the RCPTs, DATA, the content: each delivery has had its positive replies.
			if need := 3 + 1; delivered > 0 && strings.Count(string(in), "\n") < need {
				t.Fatalf("%q: delivered", in)
			}
			chunks := strings.Contains(strings.ToUpper(string(in)), "CHUNKING") // BDAT asks for no 354
			if delivered > 0 && !chunks && !strings.Contains(string(in), "354") {
				t.Fatalf("%q: delivered without 354", in)
			}
			if err != nil {
				return
			}
		}
	})
}

func check(t *testing.T, in []byte, r mail.Result) {
	t.Helper()
	class := r.Code / 100
	if class != 2 && class != 4 && class != 5 || r.Enhanced[0] != 0 && int(r.Enhanced[0]) != class {
		t.Fatalf("%q: %+v", in, r)
	}
}

// backend is a foreign server's view of mail.
type backend struct{ got chan string }

func (b backend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &foreign{b: b}, nil }

type foreign struct {
	b  backend
	to []string
}

func (*foreign) Mail(string, *gosmtp.MailOptions) error { return nil }
func (f *foreign) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	f.to = append(f.to, to)
	return nil
}

func (f *foreign) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	f.b.got <- strings.Join(f.to, ",") + " " + string(b)
	return err
}
func (f *foreign) Reset()      { f.to = nil }
func (*foreign) Logout() error { return nil }

// TestForeignServer lets our client speak to another implementation's server.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := backend{make(chan string, 4)}
	s := gosmtp.NewServer(b)
	s.Domain = "foreign.test"
	go func() { _ = s.Serve(ln) }()
	defer func() { _ = s.Close() }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(conn, ClientOptions{Hello: "x.test"})
	if _, err := c.Greet(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hello(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := "a\r\n.\r\n..b\r\n" + strings.Repeat(strings.Repeat("x", 900)+"\r\n", 200)
	for range 2 {
		res, err := c.Send(t.Context(), envelope("a@x.org", "b@y.org", "nobody@y.org", "c@y.org"), strings.NewReader(text))
		if err != nil || !res[0].Delivered() || res[1].Enhanced != (mail.Enhanced{5, 1, 1}) || !res[2].Delivered() {
			t.Fatal(res, err)
		}
		if got := <-b.got; got != "b@y.org,c@y.org "+text {
			t.Errorf("%.80q", got)
		}
	}
	_, _ = c.Send(t.Context(), envelope("a@x.org", "nobody@y.org"), strings.NewReader(text))
	if res, err := c.Send(t.Context(), envelope("", "d@y.org"), strings.NewReader("")); err != nil || !res[0].Delivered() {
		t.Error(res, err)
	}
	if err := c.Quit(t.Context()); err != nil {
		t.Error(err)
	}
}
