package transfer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/imap"
)

// imapTimeout is how long a server may be silent, or may take to be written to.
const imapTimeout = 5 * time.Minute

// IMAPOptions say which server, and as whom.
type IMAPOptions struct {
	Options
	URL      string // imap://user@host[:port] or imaps://…; a path is the one mailbox to read
	Password string
	// Insecure takes any certificate, and speaks in clear with a server that is not on loopback and offers no TLS.
	Insecure bool
}

// imapSource is the mailboxes of an account on another server, read by IMAP (RFC 3501) without changing anything.
type imapSource struct {
	o          IMAPOptions
	user       string
	conn       net.Conn
	w          *wire
	caps       []string
	sep        string
	content    spool
	subscribed []string
	seen       repeated // mailboxes whose names differ only in what ours cannot tell
}

// timed gives each read and write its time.
type timed struct{ net.Conn }

func (t timed) Read(p []byte) (int, error) {
	_ = t.SetReadDeadline(time.Now().Add(imapTimeout))
	return t.Conn.Read(p)
}

func (t timed) Write(p []byte) (int, error) {
	_ = t.SetWriteDeadline(time.Now().Add(imapTimeout))
	return t.Conn.Write(p)
}

// OpenIMAP logs in. Kinds: Invalid for the URL, Unavailable, NeedTLS, AuthFailed.
func OpenIMAP(ctx context.Context, o IMAPOptions) (Source, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.User == nil || u.Hostname() == "" || u.Scheme != "imap" && u.Scheme != "imaps" {
		return nil, mail.E("transfer.imap", mail.Invalid, "the source is imap://user@host or imaps://user@host, with :port where it is not the usual one")
	}
	if p, ok := u.User.Password(); ok && o.Password == "" {
		o.Password = p
	}
	s := &imapSource{o: o, user: u.User.Username(), seen: repeated{}}
	if err := s.connect(ctx, u); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if box := strings.Trim(u.Path, "/"); box != "" {
		s.o.URL = box
	} else {
		s.o.URL = ""
	}
	return s, nil
}

func (s *imapSource) connect(ctx context.Context, u *url.URL) error {
	port := u.Port()
	if port == "" {
		port = map[string]string{"imap": "143", "imaps": "993"}[u.Scheme]
	}
	d := net.Dialer{Timeout: 30 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return mail.E("transfer.imap", mail.Unavailable, "%v", err)
	}
	s.conn = conn
	if u.Scheme == "imaps" {
		if err := s.handshake(ctx, u.Hostname()); err != nil {
			return err
		}
	}
	s.w = newWire(timed{s.conn})
	greeting, err := s.w.response()
	if err != nil {
		return gone(err)
	}
	if len(greeting) < 2 || !greeting[1].is("OK") && !greeting[1].is("PREAUTH") {
		return mail.E("transfer.imap", mail.Unavailable, "the server greets with %q", words(greeting))
	}
	return s.login(ctx, u, greeting[1].is("PREAUTH"))
}

func (s *imapSource) handshake(ctx context.Context, host string) error {
	c := tls.Client(s.conn, &tls.Config{ServerName: host, InsecureSkipVerify: s.o.Insecure, MinVersion: tls.VersionTLS12}) //nolint:gosec // only when asked for
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return mail.E("transfer.imap", mail.NeedTLS, "TLS with %s: %v (--insecure takes any certificate)", host, err)
	}
	s.conn = c
	return nil
}

// login secures the connection where the server can, and logs in.
func (s *imapSource) login(ctx context.Context, u *url.URL, already bool) error {
	if err := s.capability(); err != nil {
		return err
	}
	if u.Scheme == "imap" && slices.Contains(s.caps, "STARTTLS") && !already {
		if err := s.w.do("STARTTLS", nil); err != nil {
			return err
		}
		if s.w.r.Buffered() > 0 {
			return mail.E("transfer.imap", mail.NeedTLS, "the server speaks before TLS begins")
		}
		if err := s.handshake(ctx, u.Hostname()); err != nil {
			return err
		}
		s.w = newWire(timed{s.conn})
		if err := s.capability(); err != nil {
			return err
		}
	} else if u.Scheme == "imap" && !s.o.Insecure && !loopback(s.conn) {
		return mail.E("transfer.imap", mail.NeedTLS, "the server offers no TLS: use imaps://, or --insecure to send the password in clear")
	}
	if already {
		return nil
	}
	user, err := quote(u.User.Username())
	if err != nil {
		return err
	}
	password, err := quote(s.o.Password)
	if err != nil {
		return err
	}
	tag, err := s.w.begin("LOGIN " + user + " " + password)
	if err == nil {
		err = s.w.finish(tag, "the login", nil)
	}
	if mail.Is(err, mail.Rejected) {
		return &mail.Error{Op: "transfer.imap", Kind: mail.AuthFailed, Text: textOf(err), Err: err}
	}
	if err != nil {
		return err
	}
	return s.capability()
}

// textOf gives what an error says to people.
func textOf(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return err.Error()
}

func loopback(c net.Conn) bool {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}

func (s *imapSource) capability() error {
	s.caps = nil
	return s.w.do("CAPABILITY", func(r []value) error {
		if r[0].is("CAPABILITY") {
			for _, v := range r[1:] {
				s.caps = append(s.caps, strings.ToUpper(v.text))
			}
		}
		return nil
	})
}

// remote is a mailbox of the server.
type remote struct {
	raw  string // as the server writes it
	meta Meta   // Mailbox and Role
}

// boxes lists the mailboxes that can be selected (RFC 3501 §6.3.8, RFC 6154).
func (s *imapSource) boxes() ([]remote, error) {
	if s.o.URL != "" {
		raw := imap.EncodeMailbox(s.o.URL)
		target := s.o.Mailbox
		if target == "" {
			target = folder(s.o.URL)
		}
		return []remote{{raw, Meta{Mailbox: target}}}, nil
	}
	var all []remote
	err := s.w.do(`LIST "" "*"`, func(r []value) error {
		if !r[0].is("LIST") || len(r) < 4 || !r[1].isList {
			return nil
		}
		if !r[2].isNil {
			s.sep = r[2].text
		}
		b := remote{raw: r[3].text}
		for _, a := range r[1].list {
			switch strings.ToLower(a.text) {
			case `\noselect`, `\nonexistent`, `\all`, `\flagged`: // the latter two have all their messages elsewhere too
				return nil
			case `\sent`, `\drafts`, `\trash`, `\junk`, `\archive`:
				b.meta.Role = strings.ToLower(a.text[1:])
			}
		}
		b.meta.Mailbox = s.o.target(s.name(b.raw))
		all = append(all, b)
		return nil
	})
	return all, err
}

// name gives the mailbox's name with our separator.
func (s *imapSource) name(raw string) string {
	if strings.EqualFold(raw, "INBOX") {
		return "INBOX"
	}
	name, ok := imap.DecodeMailbox(raw)
	if !ok {
		name = raw
	}
	levels := []string{name}
	if s.sep != "" {
		levels = strings.Split(name, s.sep)
	}
	if len(levels) > 1 && strings.EqualFold(levels[0], "INBOX") { // Courier, Cyrus: all is below INBOX
		levels = levels[1:]
	}
	for i := range levels {
		levels[i] = tidy(levels[i])
	}
	return strings.Join(slices.DeleteFunc(levels, func(l string) bool { return l == "" }), "/")
}

// Messages implements Source.
func (s *imapSource) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return walked(ctx, func(give func(*Message) error) error {
		stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
		defer stop()
		boxes, err := s.boxes()
		if err != nil {
			return err
		}
		if err := s.subscriptions(); err != nil {
			return err
		}
		for _, b := range boxes {
			if err := s.mailbox(b, give); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *imapSource) subscriptions() error {
	return s.w.do(`LSUB "" "*"`, func(r []value) error {
		if r[0].is("LSUB") && len(r) >= 4 {
			s.subscribed = append(s.subscribed, s.o.target(s.name(r[3].text)))
		}
		return nil
	})
}

// mailbox reads one mailbox, a message at a time: first what there is, then the content of what is wanted.
func (s *imapSource) mailbox(b remote, give func(*Message) error) error {
	name, err := quote(b.raw)
	if err != nil {
		return err
	}
	var validity string
	err = s.w.do("EXAMINE "+name, func(r []value) error {
		if r[0].is("OK") && len(r) > 1 {
			if _, rest, ok := strings.Cut(strings.ToUpper(r[1].text), "[UIDVALIDITY "); ok {
				validity, _, _ = strings.Cut(rest, "]")
			}
		}
		return nil
	})
	if mail.Is(err, mail.Rejected) {
		s.o.skipped(b.meta.Mailbox + ": " + textOf(err))
		return nil
	}
	if err != nil {
		return err
	}
	list, err := s.list(b, validity)
	if err != nil {
		return err
	}
	f := &fetcher{s: s, list: list, held: map[uint32]*spool{}}
	for i := range list {
		m := &Message{Meta: list[i], Open: func() (io.ReadCloser, error) { return f.open(i) }}
		if err := give(m); err != nil {
			return err
		}
	}
	return f.drain()
}

// list gives what is told of all messages of the mailbox, without their contents.
func (s *imapSource) list(b remote, validity string) ([]Meta, error) {
	var all []Meta
	at := map[uint32]int{} // by UID: a server may tell of a message again, when its flags change meanwhile
	err := s.w.do("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)", func(r []value) error {
		if len(r) < 3 || !r[1].is("FETCH") || !r[2].isList {
			return nil
		}
		m := b.meta
		m.takeAll(r[2].list)
		if i, ok := at[m.UID]; ok {
			all[i].takeAll(r[2].list)
		} else if m.UID != 0 {
			at[m.UID] = len(all)
			all = append(all, m)
		}
		return nil
	})
	for i := range all {
		all[i].Key = s.key(all[i], validity)
	}
	if mail.Is(err, mail.Rejected) && len(all) == 0 { // some servers refuse 1:* of an empty mailbox
		return nil, nil
	}
	return all, err
}

// key tells a message from those of other accounts and servers too, whose UIDVALIDITY is often the same: 1, or the second
// in which many accounts were made. The server's name is not in it, for that changes when mail is moved.
func (s *imapSource) key(m Meta, validity string) Key {
	return s.seen.key(KeyOf(m.Mailbox, "imap", s.user, validity, strconv.FormatUint(uint64(m.UID), 10),
		strconv.FormatInt(m.Size, 10), strconv.FormatInt(m.Date.Unix(), 10)))
}

// takeAll takes the items of a FETCH response.
func (m *Meta) takeAll(items []value) {
	for i := 0; i+1 < len(items); i += 2 {
		m.take(items[i].text, items[i+1])
	}
}

// take takes one item of a FETCH response.
func (m *Meta) take(item string, v value) {
	switch strings.ToUpper(item) {
	case "UID":
		n, _ := strconv.ParseUint(v.text, 10, 32)
		m.UID = uint32(n)
	case "RFC822.SIZE":
		m.Size, _ = strconv.ParseInt(v.text, 10, 64)
	case "INTERNALDATE":
		if t, err := time.Parse("2-Jan-2006 15:04:05 -0700", strings.TrimSpace(v.text)); err == nil {
			m.Date = t.UTC()
		}
	case "FLAGS":
		m.Flags = nil
		for _, f := range v.list {
			if !f.is(`\Recent`) {
				m.Flags = append(m.Flags, f.text)
			}
		}
	}
}

// Subscriptions implements Source.
func (s *imapSource) Subscriptions() []string { return s.subscribed }

// Close implements Source.
func (s *imapSource) Close() error {
	_ = s.content.reset()
	if s.conn == nil {
		return nil
	}
	if s.w != nil {
		_, _ = s.w.begin("LOGOUT")
	}
	return s.conn.Close()
}
