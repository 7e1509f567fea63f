package imap

import (
	"strconv"
	"strings"
	"time"
)

// Condition is what a status response says (RFC 3501 §7.1).
type Condition string

// The conditions.
const (
	OK      Condition = "OK"
	NO      Condition = "NO"
	BAD     Condition = "BAD"
	BYE     Condition = "BYE"
	PREAUTH Condition = "PREAUTH"
)

// Code is a response code without its brackets; "" is none.
type Code string

// Response codes without arguments (RFC 3501 §7.1, RFC 5530 §3, RFC 4315 §3, RFC 6154 §3).
const (
	CodeTryCreate            Code = "TRYCREATE"
	CodeReadOnly             Code = "READ-ONLY"
	CodeReadWrite            Code = "READ-WRITE"
	CodeUnavailable          Code = "UNAVAILABLE"
	CodeAuthenticationFailed Code = "AUTHENTICATIONFAILED"
	CodePrivacyRequired      Code = "PRIVACYREQUIRED"
	CodeNoPerm               Code = "NOPERM"
	CodeInUse                Code = "INUSE"
	CodeServerBug            Code = "SERVERBUG"
	CodeClientBug            Code = "CLIENTBUG"
	CodeCannot               Code = "CANNOT"
	CodeLimit                Code = "LIMIT"
	CodeOverQuota            Code = "OVERQUOTA"
	CodeAlreadyExists        Code = "ALREADYEXISTS"
	CodeNonExistent          Code = "NONEXISTENT"
	CodeUseAttr              Code = "USEATTR"
	CodeTooBig               Code = "TOOBIG"
	CodeBadCharset           Code = "BADCHARSET (US-ASCII UTF-8)"
)

// CodeNumber is a code with a number: UIDNEXT, UIDVALIDITY, UNSEEN.
func CodeNumber(name string, n uint64) Code { return Code(name + " " + strconv.FormatUint(n, 10)) }

// CodeFlags is PERMANENTFLAGS.
func CodeFlags(flags []string) Code { return Code("PERMANENTFLAGS (" + strings.Join(flags, " ") + ")") }

// CodeCapability is CAPABILITY with what the server can.
func CodeCapability(caps []string) Code { return Code("CAPABILITY " + strings.Join(caps, " ")) }

// CodeAppendUID is APPENDUID (RFC 4315 §3).
func CodeAppendUID(validity, uid uint32) Code {
	return Code("APPENDUID " + strconv.FormatUint(uint64(validity), 10) + " " + strconv.FormatUint(uint64(uid), 10))
}

// CodeCopyUID is COPYUID (RFC 4315 §3); from and to ascend and correspond.
func CodeCopyUID[N ~uint32](validity uint32, from, to []N) Code {
	b := append([]byte("COPYUID "), strconv.FormatUint(uint64(validity), 10)...)
	b = AppendSet(append(b, ' '), from)
	b = AppendSet(append(b, ' '), to)
	return Code(b)
}

// Status writes a status response; an empty tag is untagged. Line ends in text become spaces.
func (e *Encoder) Status(tag string, c Condition, code Code, text string) {
	if tag == "" {
		tag = "*"
	}
	if over := e.lines - tracedLines; over > 0 {
		e.Note("lines not shown: " + strconv.Itoa(over))
		e.lines = 0
	}
	e.raw(tag)
	e.byte(' ')
	e.raw(string(c))
	e.byte(' ')
	if code != "" {
		e.byte('[')
		e.raw(string(code))
		e.raw("] ")
	}
	if text == "" {
		text = "done" // text is not optional (RFC 3501 §9 resp-text)
	}
	for _, r := range text {
		if r < 0x20 || r >= 0x7f {
			r = ' '
		}
		e.byte(byte(r))
	}
	e.crlf()
}

// Continuation writes a continuation request with a text, which may be empty.
func (e *Encoder) Continuation(text string, secret bool) {
	e.secret = secret
	e.raw("+ ")
	e.raw(text)
	e.crlf()
	e.secret = false
}

// Capability writes CAPABILITY.
func (e *Encoder) Capability(caps []string) {
	e.raw("* CAPABILITY ")
	e.raw(strings.Join(caps, " "))
	e.crlf()
}

// Enabled writes ENABLED (RFC 5161 §3.2).
func (e *Encoder) Enabled(caps []string) {
	e.raw("* ENABLED")
	for _, c := range caps {
		e.byte(' ')
		e.raw(c)
	}
	e.crlf()
}

// ID writes ID, NIL without fields (RFC 2971 §3.2).
func (e *Encoder) ID(fields []Field) {
	e.raw("* ID ")
	e.idFields(fields)
	e.crlf()
}

func (e *Encoder) idFields(fields []Field) {
	if len(fields) == 0 {
		e.raw("NIL")
		return
	}
	e.open()
	for _, f := range fields {
		e.item()
		e.str(f.Name)
		e.byte(' ')
		if f.Null {
			e.raw("NIL")
		} else {
			e.str(f.Value)
		}
	}
	e.close()
}

// Namespace writes the one personal namespace that there is (RFC 2342 §5).
func (e *Encoder) Namespace() {
	e.raw(`* NAMESPACE (("" "/")) NIL NIL`)
	e.crlf()
}

// Exists, Recent and Expunge write the mailbox responses of those names (RFC 3501 §7.3, §7.4.1).
func (e *Encoder) Exists(n int) { e.numbered(n, "EXISTS") }

// Recent writes RECENT.
func (e *Encoder) Recent(n int) { e.numbered(n, "RECENT") }

// Expunge writes EXPUNGE.
func (e *Encoder) Expunge(seq int) { e.numbered(seq, "EXPUNGE") }

func (e *Encoder) numbered(n int, what string) {
	e.raw("* ")
	e.number(uint64(n))
	e.byte(' ')
	e.raw(what)
	e.crlf()
}

// Flags writes FLAGS (RFC 3501 §7.2.6).
func (e *Encoder) Flags(flags []string) {
	e.raw("* FLAGS ")
	e.words(flags)
	e.crlf()
}

// ListData is one LIST or LSUB response.
type ListData struct {
	Attributes []string // with their backslash
	Name       string   // UTF-8
	ChildInfo  bool     // a child is subscribed: CHILDINFO (RFC 5258 §3.5)
}

// List writes a response of LIST, or of LSUB; the hierarchy delimiter is "/".
func (e *Encoder) List(lsub bool, l ListData) {
	if lsub {
		e.raw("* LSUB ")
	} else {
		e.raw("* LIST ")
	}
	e.words(l.Attributes)
	e.raw(` "/" `)
	e.mailbox(l.Name)
	if l.ChildInfo {
		e.raw(` ("CHILDINFO" ("SUBSCRIBED"))`)
	}
	e.crlf()
}

// ListDelimiter writes the answer to LIST with an empty pattern: the delimiter and the root (RFC 3501 §6.3.8).
func (e *Encoder) ListDelimiter() {
	e.raw(`* LIST (\Noselect) "/" ""`)
	e.crlf()
}

// StatusData writes STATUS; values belong to items in their order.
func (e *Encoder) StatusData(name string, items []StatusItem, values []uint64) {
	e.raw("* STATUS ")
	e.mailbox(name)
	e.byte(' ')
	e.open()
	for i, item := range items {
		e.item()
		e.raw(item.String())
		e.byte(' ')
		e.number(values[i])
	}
	e.close()
	e.crlf()
}

// Search writes SEARCH.
func (e *Encoder) Search(nums []uint32) {
	e.raw("* SEARCH")
	for _, n := range nums {
		e.byte(' ')
		e.number(uint64(n))
	}
	e.crlf()
}

// ESearch writes ESEARCH for ascending nums (RFC 4731 §3.1): MIN, MAX and ALL are left out when there are none.
func (e *Encoder) ESearch(tag string, uid bool, ret SearchReturn, nums []uint32) {
	e.raw("* ESEARCH (TAG ")
	e.str(tag)
	e.byte(')')
	if uid {
		e.raw(" UID")
	}
	if len(nums) > 0 {
		if ret&ReturnMin != 0 {
			e.raw(" MIN ")
			e.number(uint64(nums[0]))
		}
		if ret&ReturnMax != 0 {
			e.raw(" MAX ")
			e.number(uint64(nums[len(nums)-1]))
		}
		if ret&ReturnAll != 0 {
			e.raw(" ALL ")
			e.room()
			e.buf = AppendSet(e.buf, nums)
		}
	}
	if ret&ReturnCount != 0 {
		e.raw(" COUNT ")
		e.number(uint64(len(nums)))
	}
	e.crlf()
}

// The parts of a FETCH response: BeginFetch, any of the others, EndFetch.

// BeginFetch begins the response for one message.
func (e *Encoder) BeginFetch(seq int) {
	e.raw("* ")
	e.number(uint64(seq))
	e.raw(" FETCH ")
	e.open()
}

// EndFetch ends the response.
func (e *Encoder) EndFetch() {
	e.close()
	e.crlf()
}

// FetchUID writes UID.
func (e *Encoder) FetchUID(uid uint32) {
	e.item()
	e.raw("UID ")
	e.number(uint64(uid))
}

// FetchFlags writes FLAGS.
func (e *Encoder) FetchFlags(flags []string) {
	e.item()
	e.raw("FLAGS ")
	e.words(flags)
}

// FetchDate writes INTERNALDATE.
func (e *Encoder) FetchDate(t time.Time) {
	e.item()
	e.raw("INTERNALDATE ")
	e.buf = AppendDateTime(e.buf, t)
}

// FetchSize writes RFC822.SIZE.
func (e *Encoder) FetchSize(n int64) {
	e.item()
	e.raw("RFC822.SIZE ")
	e.number(uint64(max(n, 0)))
}

// FetchNil writes an item that has no value.
func (e *Encoder) FetchNil(i FetchItem) {
	e.fetchName(i)
	e.raw("NIL")
}

func (e *Encoder) fetchName(i FetchItem) {
	e.item()
	e.room()
	e.buf = i.AppendName(e.buf)
	e.byte(' ')
}
