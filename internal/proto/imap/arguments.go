package imap

import (
	"time"

	"postel/internal/mail"
)

// None is the arguments of a command that takes none.
type None struct{}

// None is the end of the command.
func (d *Decoder) None() None {
	d.end()
	return None{}
}

// Login is the arguments of LOGIN.
type Login struct{ User, Password string }

// Login is userid SP password.
func (d *Decoder) Login() Login {
	var l Login
	d.sp()
	l.User = d.astring()
	d.sp()
	l.Password = d.astring()
	d.end()
	return l
}

// Authenticate is the arguments of AUTHENTICATE.
type Authenticate struct {
	Mechanism string // in capitals
	Initial   string // base64 as given, "=" for an empty one; "" when there is none (RFC 4959 §3)
}

// Authenticate is auth-type [SP initial-resp].
func (d *Decoder) Authenticate() Authenticate {
	var a Authenticate
	d.sp()
	a.Mechanism = d.keyword()
	if d.take(' ') {
		a.Initial = d.word(isBase64, "a response in base64")
	}
	d.end()
	return a
}

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '+' || c == '/' || c == '='
}

// Mailbox is the argument of SELECT, EXAMINE, DELETE, SUBSCRIBE and UNSUBSCRIBE.
type Mailbox struct{ Name string }

// Mailbox is SP mailbox.
func (d *Decoder) Mailbox() Mailbox {
	d.sp()
	m := Mailbox{d.mailbox()}
	d.end()
	return m
}

// Create is the arguments of CREATE.
type Create struct {
	Name string
	Use  []string // special uses as given, with their backslash (RFC 6154 §3)
}

// Create is SP mailbox [SP "(" "USE" SP "(" use ")" ")"].
func (d *Decoder) Create() Create {
	d.sp()
	c := Create{Name: d.mailbox()}
	if d.take(' ') {
		d.expect('(')
		if d.keyword() != "USE" && !d.failed() {
			d.invalid("unknown parameter of CREATE")
		}
		d.sp()
		c.Use = d.flagList()
		d.expect(')')
	}
	d.end()
	return c
}

// Rename is the arguments of RENAME.
type Rename struct{ From, To string }

// Rename is SP mailbox SP mailbox.
func (d *Decoder) Rename() Rename {
	var r Rename
	d.sp()
	r.From = d.mailbox()
	d.sp()
	r.To = d.mailbox()
	d.end()
	return r
}

// Append is the arguments of APPEND up to the message, which OpenMessage reads.
type Append struct {
	Mailbox string
	Flags   []string
	Date    time.Time // zero: now
	Size    int64     // of the message
}

// Append is SP mailbox [SP flag-list] [SP date-time] SP literal; the literal itself stays unread.
func (d *Decoder) Append() Append {
	var a Append
	d.sp()
	a.Mailbox = d.mailbox()
	d.sp()
	if d.peek() == '(' {
		a.Flags = d.flagList()
		d.sp()
	}
	if d.peek() == '"' {
		a.Date = d.dateTime()
		d.sp()
	}
	if d.peek() != '{' && !d.failed() {
		d.invalid("expected a message literal")
	}
	if !d.failed() {
		a.Size, _ = d.literalHeader()
	}
	return a
}

// StoreOp is what STORE does with the flags.
type StoreOp uint8

// The operations.
const (
	StoreReplace StoreOp = iota
	StoreAdd
	StoreRemove
)

// Store is the arguments of STORE and UID STORE.
type Store struct {
	Set    SeqSet
	Op     StoreOp
	Silent bool
	Flags  []string
}

// Store is SP set SP ["+" / "-"] "FLAGS" [".SILENT"] SP flags.
func (d *Decoder) Store() Store {
	var s Store
	d.sp()
	s.Set = d.sequenceSet()
	d.sp()
	switch {
	case d.take('+'):
		s.Op = StoreAdd
	case d.take('-'):
		s.Op = StoreRemove
	}
	switch d.keyword() {
	case "FLAGS":
	case "FLAGS.SILENT":
		s.Silent = true
	default:
		if !d.failed() {
			d.invalid("unknown item to store")
		}
	}
	d.sp()
	if d.peek() == '(' {
		s.Flags = d.flagList()
	} else {
		s.Flags = []string{d.flag()}
		for d.take(' ') && len(s.Flags) < maxItems {
			s.Flags = append(s.Flags, d.flag())
		}
	}
	d.end()
	return s
}

// Copy is the arguments of COPY, MOVE and their UID forms.
type Copy struct {
	Set     SeqSet
	Mailbox string
}

// Copy is SP set SP mailbox.
func (d *Decoder) Copy() Copy {
	var c Copy
	d.sp()
	c.Set = d.sequenceSet()
	d.sp()
	c.Mailbox = d.mailbox()
	d.end()
	return c
}

// Set is the argument of UID EXPUNGE.
type Set struct{ Set SeqSet }

// UIDSet is SP sequence-set.
func (d *Decoder) UIDSet() Set {
	d.sp()
	s := Set{d.sequenceSet()}
	d.end()
	return s
}

// Field is a name and a value of ID; a value of NIL is Null.
type Field struct {
	Name, Value string
	Null        bool
}

// ID is the argument of ID, nil when it was NIL (RFC 2971 §3.1).
type ID struct{ Fields []Field }

// ID is SP (NIL / "(" string SP nstring … ")"), of at most 30 fields, names of 30 and values of 1,024 octets
// (RFC 2971 §3.3).
func (d *Decoder) ID() ID {
	var id ID
	d.sp()
	if !d.null() {
		d.list(30, func() {
			f := Field{Name: d.string()}
			d.sp()
			var ok bool
			f.Value, ok = d.nstring()
			f.Null = !ok
			if len(f.Name) > 30 || len(f.Value) > 1024 {
				d.fail(mail.TooLarge, "field of ID is too long")
			}
			id.Fields = append(id.Fields, f)
		})
	}
	d.end()
	return id
}

// Enable is the argument of ENABLE: capabilities in capitals (RFC 5161 §3.1).
type Enable struct{ Capabilities []string }

// Enable is 1*(SP capability).
func (d *Decoder) Enable() Enable {
	var e Enable
	for !d.failed() && len(e.Capabilities) < maxItems {
		d.sp()
		e.Capabilities = append(e.Capabilities, d.keyword())
		if d.pos == len(d.line) {
			break
		}
	}
	d.end()
	return e
}

// StatusItem is what STATUS asks of a mailbox.
type StatusItem uint8

// The items of RFC 3501 §6.3.10 and RFC 8438.
const (
	StatusMessages StatusItem = iota
	StatusRecent
	StatusUIDNext
	StatusUIDValidity
	StatusUnseen
	StatusSize
)

var statusNames = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "SIZE"}

// String gives the item's name.
func (i StatusItem) String() string { return statusNames[i] }

// Status is the arguments of STATUS.
type Status struct {
	Mailbox string
	Items   []StatusItem
}

// Status is SP mailbox SP "(" status-att … ")".
func (d *Decoder) Status() Status {
	var s Status
	d.sp()
	s.Mailbox = d.mailbox()
	d.sp()
	s.Items = d.statusItems()
	d.end()
	return s
}

func (d *Decoder) statusItems() []StatusItem {
	var items []StatusItem
	d.list(maxItems, func() {
		word := d.keyword()
		for i, n := range statusNames {
			if n == word {
				items = append(items, StatusItem(i))
				return
			}
		}
		d.invalid("unknown status item")
	})
	if !d.failed() && len(items) == 0 {
		d.invalid("no status items")
	}
	return items
}

// List is the arguments of LIST and LSUB (RFC 3501 §6.3.8, RFC 5258 §3).
type List struct {
	Reference string
	Patterns  []string
	Extended  bool // options or several patterns were given
	Select    ListOption
	Return    ListOption
	Status    []StatusItem // RETURN (STATUS (…)), RFC 5819
}

// ListOption is a set of selection or return options.
type ListOption uint8

// The options. RecursiveMatch is one of selection only, Children of return only.
const (
	ListSubscribed ListOption = 1 << iota
	ListRemote
	ListSpecialUse
	ListRecursiveMatch
	ListChildren
)

var listOptionNames = [...]string{"SUBSCRIBED", "REMOTE", "SPECIAL-USE", "RECURSIVEMATCH", "CHILDREN"}

const (
	selectOptions = ListSubscribed | ListRemote | ListSpecialUse | ListRecursiveMatch
	returnOptions = ListSubscribed | ListSpecialUse | ListChildren
)

// List is [SP "(" selection options ")"] SP mailbox SP patterns [SP "RETURN" SP "(" return options ")"].
func (d *Decoder) List() List {
	var l List
	d.sp()
	if d.peek() == '(' {
		l.Extended = true
		l.Select = d.listOptions(selectOptions, nil)
		if l.Select&ListRecursiveMatch != 0 && l.Select&(ListSubscribed|ListSpecialUse) == 0 {
			d.invalid("RECURSIVEMATCH needs another selection option") // RFC 5258 §3.1
		}
		d.sp()
	}
	l.Reference = d.mailbox()
	d.sp()
	if d.peek() == '(' {
		l.Extended = true
		d.list(maxItems, func() { l.Patterns = append(l.Patterns, d.listMailbox()) })
	} else {
		l.Patterns = []string{d.listMailbox()}
	}
	if d.take(' ') {
		l.Extended = true
		if d.keyword() != "RETURN" && !d.failed() {
			d.invalid("expected RETURN")
		}
		d.sp()
		l.Return = d.listOptions(returnOptions, &l.Status)
	}
	d.end()
	return l
}

func (d *Decoder) listOptions(legal ListOption, status *[]StatusItem) ListOption {
	var set ListOption
	d.list(16, func() {
		word := d.keyword()
		if word == "STATUS" && status != nil {
			d.sp()
			*status = d.statusItems()
			return
		}
		for i, n := range listOptionNames {
			if o := ListOption(1 << i); n == word && legal&o != 0 {
				set |= o
				return
			}
		}
		d.invalid("unknown list option")
	})
	return set
}

// Lsub is SP mailbox SP list-mailbox.
func (d *Decoder) Lsub() List {
	d.sp()
	l := List{Reference: d.mailbox()}
	d.sp()
	l.Patterns = []string{d.listMailbox()}
	d.end()
	return l
}
