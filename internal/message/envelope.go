package message

// Envelope is what IMAP's ENVELOPE tells of a message (RFC 3501 §7.4.2). Strings are unfolded, otherwise as they
// came, "" when the field is missing. Sender and ReplyTo are those of From when they are missing or empty.
type Envelope struct {
	Date      string
	Subject   string
	From      []Address
	Sender    []Address
	ReplyTo   []Address
	To        []Address
	Cc        []Address
	Bcc       []Address
	InReplyTo string
	MessageID string
}

// Envelope builds the envelope from a header. Several To, Cc or Bcc fields are taken together; of any other field
// the first counts.
func (h *Header) Envelope() *Envelope {
	e := new(Envelope)
	k := keeper{room: MaxHeader * 8}
	for _, f := range h.fields {
		e.take(&k, fieldOf(f.Name()), f.raw[f.name:])
	}
	e.finish()
	return e
}

// take puts one field's value, which starts at its colon, into the envelope.
func (e *Envelope) take(k *keeper, id fieldID, s string) {
	switch id {
	case fieldDate:
		k.first(&e.Date, s)
	case fieldSubject:
		k.first(&e.Subject, s)
	case fieldInReplyTo:
		k.first(&e.InReplyTo, s)
	case fieldMessageID:
		k.first(&e.MessageID, s)
	case fieldFrom:
		e.From = k.addresses(e.From, s, false)
	case fieldSender:
		e.Sender = k.addresses(e.Sender, s, false)
	case fieldReplyTo:
		e.ReplyTo = k.addresses(e.ReplyTo, s, false)
	case fieldTo:
		e.To = k.addresses(e.To, s, true)
	case fieldCc:
		e.Cc = k.addresses(e.Cc, s, true)
	case fieldBcc:
		e.Bcc = k.addresses(e.Bcc, s, true)
	}
}

// finish applies the defaults.
func (e *Envelope) finish() {
	if len(e.Sender) == 0 {
		e.Sender = e.From
	}
	if len(e.ReplyTo) == 0 {
		e.ReplyTo = e.From
	}
}

// keeper bounds the memory that a tree takes from the header sections it was made of.
type keeper struct {
	room   int  // octets left
	pinned bool // the section itself is paid for, substrings of it cost nothing
	out    bool // something was left out
	parser addressParser
}

// What an entry of a list costs beside its text.
const (
	addressCost = 64
	paramCost   = 32
)

// pay takes n octets off the room; false when there is not so much.
func (k *keeper) pay(n int) bool {
	if n > k.room {
		k.out = true
		return false
	}
	k.room -= n
	return true
}

// text gives the unfolded value of a field that starts at its colon.
func (k *keeper) text(s string) string { return k.own(unfold(s)) }

// own gives a string that does not hold a header section in memory that was not paid for.
func (k *keeper) own(s string) string {
	if k.pinned || s == "" {
		return s
	}
	if !k.pay(len(s)) {
		return ""
	}
	return string([]byte(s))
}

func (k *keeper) first(dst *string, s string) {
	if *dst == "" {
		*dst = k.text(s)
	}
}

func (k *keeper) addresses(list []Address, s string, more bool) []Address {
	if len(list) > 0 && !more {
		return list
	}
	p := &k.parser
	*p = addressParser{s: k.text(s), max: min(MaxAddresses-len(list), k.room/addressCost), flaw: "not checked"}
	if p.s == "" {
		return list
	}
	p.list()
	k.out = k.out || p.i < len(p.s)
	k.room -= addressCost * len(p.out)
	if list == nil {
		return p.out
	}
	return append(list, p.out...)
}

// params charges for a parameter list and owns its text.
func (k *keeper) params(list []Param) []Param {
	if !k.pay(paramCost * len(list)) {
		return nil
	}
	if !k.pinned {
		for i := range list {
			list[i] = Param{k.own(list[i].Name), k.own(list[i].Value)}
		}
	}
	return list
}
