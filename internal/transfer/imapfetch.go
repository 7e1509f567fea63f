package transfer

import (
	"errors"
	"io"
	"strconv"

	"postel/internal/mail"
)

// What is asked for at once, so that a far server is not waited for message by message.
const (
	aheadMessages = 32
	aheadOctets   = 4 << 20
)

// fetcher reads the contents of a list of messages, a few with one command. Servers may answer in any order.
type fetcher struct {
	s    *imapSource
	list []Meta
	next int               // the first that was not asked for
	tag  string            // of the command whose answer has not ended
	held map[uint32]*spool // contents that came before they were wanted
}

// open gives the content of a message, without setting \Seen.
func (f *fetcher) open(i int) (io.ReadCloser, error) {
	if err := f.s.content.reset(); err != nil {
		return nil, err
	}
	if i >= f.next {
		if err := f.drain(); err != nil {
			return nil, err
		}
		if err := f.ask(i); err != nil {
			return nil, err
		}
	}
	uid := f.list[i].UID
	for f.held[uid] == nil && f.tag != "" {
		if err := f.answer(); err != nil {
			return nil, err
		}
	}
	c := f.held[uid]
	if c == nil {
		return nil, mail.E("transfer.imap", mail.NotFound, "the message is gone")
	}
	delete(f.held, uid)
	f.s.content = *c
	return f.s.content.open()
}

// ask asks for a message and some of those behind it.
func (f *fetcher) ask(i int) error {
	uids := strconv.FormatUint(uint64(f.list[i].UID), 10)
	octets, n := f.list[i].Size, 1
	for f.next = i + 1; f.next < len(f.list) && n < aheadMessages; f.next++ {
		m := f.list[f.next]
		if f.s.o.known(m.Key) {
			continue
		}
		if octets += m.Size; octets > aheadOctets {
			break
		}
		uids += "," + strconv.FormatUint(uint64(m.UID), 10)
		n++
	}
	var err error
	if f.tag, err = f.s.w.begin("UID FETCH " + uids + " BODY.PEEK[]"); err != nil {
		return gone(err)
	}
	return nil
}

// answer reads one response.
func (f *fetcher) answer() error {
	content := &spool{}
	f.s.w.spool = content
	r, err := f.s.w.response()
	f.s.w.spool = nil
	if err != nil {
		return errors.Join(gone(err), content.reset())
	}
	ended, err := f.s.w.ended(r, f.tag, "FETCH")
	if ended || err != nil {
		f.tag = ""
		return errors.Join(err, content.reset())
	}
	if uid, ok := hasBody(r[1:], content); ok && f.held[uid] == nil && len(f.held) <= aheadMessages {
		f.held[uid] = content
		return nil
	}
	return content.reset()
}

// drain reads what nobody wants any more.
func (f *fetcher) drain() error {
	for f.tag != "" {
		if err := f.answer(); err != nil {
			return err
		}
	}
	var err error
	for uid, c := range f.held {
		err = errors.Join(err, c.reset())
		delete(f.held, uid)
	}
	return err
}

// hasBody tells the UID of a response that has a content; a short one may come as a quoted string.
func hasBody(r []value, content *spool) (uint32, bool) {
	if len(r) < 3 || !r[1].is("FETCH") {
		return 0, false
	}
	items, body := r[2].list, false
	for i := 0; i+1 < len(items); i += 2 {
		if v := items[i+1]; items[i].is("BODY[]") && !v.isNil && !v.isList {
			body = true
			if !v.spooled {
				_, _ = io.WriteString(content, v.text)
			}
		}
	}
	var m Meta
	m.takeAll(items)
	return m.UID, body && m.UID != 0
}
