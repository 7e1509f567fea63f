package smtpd

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
)

// peers keeps the peers of the transactions.
type peers struct {
	discard
	seen chan smtp.Peer
}

func (p peers) Begin(_ context.Context, peer smtp.Peer) (smtp.Transaction, error) {
	p.seen <- peer
	return p.discard, nil
}

// TestUnixSocket sees that the kernel tells who submits.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	p := peers{seen: make(chan smtp.Peer, 1)}
	s := listen.New(listen.Options{Handler: New(Options{Policy: p, Hostname: "mx.test"})})
	path := filepath.Join(t.TempDir(), "submit.sock")
	ln, err := listen.Bind(t.Context(), "unix:"+path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(ln) }()
	defer func() { _ = s.Shutdown(context.Background()) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	c := &talker{t, conn, bufio.NewReader(conn)}
	c.reply()
	c.say("EHLO localhost")
	if got := c.say("MAIL FROM:<>"); !strings.HasPrefix(got, "250") {
		t.Error(got)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	peer := <-p.seen
	if peer.System == nil || int(peer.System.UID) != os.Getuid() || peer.System.Name != me.Username || peer.Remote.IsValid() {
		t.Errorf("%+v", peer)
	}
	line := string(smtp.Received(peer, smtp.ReceivedInfo{Hostname: "mx.test", ID: mail.ID{}, Now: time.Now()}))
	if !strings.Contains(line, "from localhost (uid ") {
		t.Error(line)
	}
	_ = c.say("QUIT")
}
