package crash

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
)

// note records an error that no crash excuses, and hands it on: whatever breaks, a server may say "not now" and go
// away, never that something is wrong with the mail or its user.
func (d *driver) note(err error) error {
	s := err.Error()
	permanent := strings.HasPrefix(s, `reply "5`) || strings.HasPrefix(s, "BAD") || strings.HasPrefix(s, "NO ") && !strings.HasPrefix(s, "NO [") ||
		strings.Contains(s, "AUTHENTICATIONFAILED") || strings.Contains(s, "NONEXISTENT")
	if permanent {
		d.ledger.refused("refused: %s", s)
	}
	return err
}

func (d *driver) smtp(w int, listener, login string) error {
	c, err := dialSMTP(d.srv.Addr(listener), login)
	if err != nil {
		return d.note(err)
	}
	defer func() { _ = c.Close() }()
	from := "stranger@elsewhere.test"
	if login != "" {
		from = login
	}
	for {
		m, user := d.ledger.message(), d.users[rand.IntN(len(d.users))]
		d.ledger.begin(owner{user, m.id}, home)
		if err := c.send(from, m, user); err != nil {
			return d.note(err)
		}
		d.ledger.acked(owner{user, m.id}, home)
	}
}

// lmtp delivers to two users at once, each of whom has a reply.
func (d *driver) lmtp(w int) error {
	c, err := dialLMTP(d.srv.Addr("lmtp"))
	if err != nil {
		return d.note(err)
	}
	defer func() { _ = c.Close() }()
	for {
		m, to := d.ledger.message(), []string{d.users[w%2], d.users[2]}
		for _, u := range to {
			d.ledger.begin(owner{u, m.id}, home)
		}
		if err := c.send("stranger@elsewhere.test", m, to...); err != nil {
			return d.note(err)
		}
		d.ledger.acked(owner{to[0], m.id}, home)
		if err := c.reply('2'); err != nil {
			return d.note(err)
		}
		d.ledger.acked(owner{to[1], m.id}, home)
	}
}

func (d *driver) append(w int) error {
	user := d.users[w%len(d.users)]
	c, err := dialIMAP(d.srv.Addr("imap"), user)
	if err != nil {
		return d.note(err)
	}
	defer func() { _ = c.Close() }()
	for {
		m := d.ledger.message()
		d.ledger.begin(owner{user, m.id}, home)
		if err := c.append_("INBOX", m); err != nil {
			return d.note(err)
		}
		d.ledger.acked(owner{user, m.id}, home)
	}
}

var (
	validityRE = regexp.MustCompile(`UIDVALIDITY (\d+)`)
	uidNextRE  = regexp.MustCompile(`UIDNEXT (\d+)`)
	modseqRE   = regexp.MustCompile(`HIGHESTMODSEQ (\d+)`)
	uidRE      = regexp.MustCompile(`UID (\d+)`)
)

// read is a session that looks at what comes in and at what is being changed, and writes down what it was shown.
func (d *driver) read(w int) error {
	user := d.users[w]
	c, err := dialIMAP(d.srv.Addr("imap"), user)
	if err != nil {
		return d.note(err)
	}
	defer func() { _ = c.Close() }()
	box, next, err := d.open(c, user, "INBOX")
	if err != nil {
		return d.note(err)
	}
	for {
		us, err := c.imap("UID FETCH %d:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])", next)
		if err != nil {
			return d.note(err)
		}
		for _, u := range us {
			if id, uid, ok := headerOf(u); ok && uid >= next {
				d.ledger.shown(at(box, uid), id, isFlagged(u))
				next = uid + 1
			}
		}
		if err := d.look(c, box, next); err != nil {
			return d.note(err)
		}
	}
}

// look looks whether changes that are begun are shown already.
func (d *driver) look(c *conn, box place, next uint32) error {
	all := d.ledger.pendings(box, next)
	if len(all) == 0 {
		return nil
	}
	ps := make([]place, len(all))
	for i, x := range all {
		ps[i] = x.p
	}
	us, err := c.imap("UID FETCH %s (UID FLAGS)", uidSet(ps))
	if err != nil {
		return err
	}
	there := map[uint32]untagged{}
	for _, u := range us {
		if m := uidRE.FindStringSubmatch(u.text); m != nil {
			there[number(m[1])] = u
		}
	}
	for _, x := range all {
		u, ok := there[x.p.uid]
		d.ledger.looked(x, ok, isFlagged(u))
	}
	return nil
}

// open selects a mailbox and writes down its UIDNEXT; new messages are looked for from there on.
func (d *driver) open(c *conn, user, mailbox string) (box place, next uint32, err error) {
	was := d.ledger.heads(user, mailbox)
	us, err := c.imap("SELECT %s", mailbox)
	if err != nil {
		return box, 0, err
	}
	box = place{user: user, mailbox: mailbox}
	h := head{}
	for _, u := range us {
		if m := validityRE.FindStringSubmatch(u.text); m != nil {
			h.validity = number(m[1])
		}
		if m := uidNextRE.FindStringSubmatch(u.text); m != nil {
			h.uidNext = number(m[1])
		}
		if m := modseqRE.FindStringSubmatch(u.text); m != nil {
			h.modseq, _ = strconv.ParseUint(m[1], 10, 64)
		}
	}
	if h.validity == 0 || h.uidNext == 0 {
		return box, 0, fmt.Errorf("SELECT told no UIDVALIDITY or UIDNEXT")
	}
	box.validity = h.validity
	d.ledger.opened(box, was, h)
	return box, h.uidNext, nil
}

// headerOf gives a message's subject, which is its id, or report, and its UID.
func headerOf(u untagged) (id string, uid uint32, ok bool) {
	m := uidRE.FindStringSubmatch(u.text)
	if m == nil || len(u.literals) == 0 {
		return "", 0, false
	}
	_, id, ok = strings.Cut(strings.TrimSpace(string(u.literals[0])), ": ")
	if isReport(id) {
		id = report
	}
	return id, number(m[1]), ok
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}
