package imapd

import (
	"context"
	"io"
	"slices"
	"strings"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// span is a range of octets of a message.
type span struct{ from, to int64 }

// section tells one BODY[…] or RFC822 item. An error means that nothing was told yet.
func (f *fetching) section(ctx context.Context, i *imap.FetchItem, m *store.Email) error {
	sec := i.Section
	switch i.Kind {
	case imap.FetchRFC822Header:
		sec = imap.Section{Text: imap.SectionHeader}
	case imap.FetchRFC822Text:
		sec = imap.Section{Text: imap.SectionBodyText}
	}
	p, where, ok := locate(m, sec)
	if !ok {
		f.s.e.FetchNil(*i)
		return nil
	}
	if sec.Text == imap.SectionFields || sec.Text == imap.SectionFieldsNot {
		s, err := f.s.headerFields(ctx, m, p, sec)
		if err == nil {
			f.s.e.FetchString(*i, cutString(s, i.Partial))
		}
		return err
	}
	where = where.cut(i.Partial)
	r, err := f.s.srv.o.Store.OpenBody(ctx, m, where.from, where.to-where.from)
	if err != nil {
		return err
	}
	f.s.e.FetchLiteral(*i, where.to-where.from, r)
	_ = r.Close()
	return nil
}

// locate finds the part that a section names and where the asked octets lie; false when there is none
// (RFC 3501 §6.4.5). For header fields the span is the header that they are taken from.
func locate(m *store.Email, sec imap.Section) (*message.Part, span, bool) {
	path := make([]int, len(sec.Part))
	for i, n := range sec.Part {
		path[i] = int(n)
	}
	p := m.Root.Find(path...)
	if p == nil {
		return nil, span{}, false
	}
	switch sec.Text {
	case imap.SectionWhole:
		if len(path) == 0 {
			return p, span{0, m.Size}, true
		}
		return p, span{p.BodyStart, p.End}, true
	case imap.SectionMIME:
		return p, span{p.HeaderStart, p.BodyStart}, true
	}
	if len(path) > 0 { // of the message that the part holds
		if !p.IsMessage() {
			return nil, span{}, false
		}
		p = p.Children[0]
	}
	if sec.Text == imap.SectionBodyText {
		return p, span{p.BodyStart, p.End}, true
	}
	return p, span{p.HeaderStart, p.BodyStart}, true
}

// cut takes the part of the span that a partial fetch asks for; beyond the end there is nothing.
func (w span) cut(p *imap.Partial) span {
	if p == nil {
		return w
	}
	from := min(w.from+int64(p.Offset), w.to)
	return span{from, min(from+int64(p.Count), w.to)}
}

func cutString(s string, p *imap.Partial) string {
	w := span{0, int64(len(s))}.cut(p)
	return s[w.from:w.to]
}

// headerFields gives the fields that a section names, or the others, and the empty line behind them. Fields that
// were kept at delivery come from there, without reading the message.
func (s *session) headerFields(ctx context.Context, m *store.Email, p *message.Part, sec imap.Section) (string, error) {
	header, ok := keptFields(m, p, sec)
	if !ok {
		var err error
		if header, err = s.readHeader(ctx, m, p); err != nil {
			return "", err
		}
	}
	return filterFields(header, sec.Fields, sec.Text == imap.SectionFields), nil
}

// keptFields gives the fields that were kept when they are all that can matter.
func keptFields(m *store.Email, p *message.Part, sec imap.Section) (string, bool) {
	sum := m.Root.Summary
	if p != m.Root || sum == nil || sum.Partial || sec.Text != imap.SectionFields {
		return "", false
	}
	for _, f := range sec.Fields {
		if !message.IsKeptField(f) {
			return "", false
		}
	}
	return string(sum.Fields), true
}

// maxHeader bounds how much of a header is looked at: what a server of mail accepts.
const maxHeader = 1 << 20

// readHeader reads the header section of a part.
func (s *session) readHeader(ctx context.Context, m *store.Email, p *message.Part) (string, error) {
	r, err := s.srv.o.Store.OpenBody(ctx, m, p.HeaderStart, min(p.BodyStart-p.HeaderStart, maxHeader))
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	var b strings.Builder
	if _, err := io.Copy(&b, r); err != nil {
		return "", mail.Wrap("imapd.header", err)
	}
	return b.String(), nil
}

// filterFields keeps the fields whose name is among names, or with want false the others, as they came.
func filterFields(header string, names []string, want bool) string {
	h, _ := message.ParseHeader(header)
	asked := among(names)
	var b strings.Builder
	b.Grow(min(len(header), 1024))
	for f := range h.All() {
		if f.Name() == "" || asked(strings.TrimRight(f.Name(), " \t")) != want {
			continue
		}
		b.WriteString(f.Raw())
		if !strings.HasSuffix(f.Raw(), "\n") {
			b.WriteString("\r\n")
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

// among tells whether a name is one of names in any case.
func among(names []string) func(string) bool {
	if len(names) <= 32 {
		return func(s string) bool {
			return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, s) })
		}
	}
	asked := make(map[string]bool, len(names))
	for _, n := range names {
		asked[strings.ToLower(n)] = true
	}
	return func(s string) bool { return asked[strings.ToLower(s)] }
}
