package imap

import (
	"strings"
	"time"

	"postel/internal/mail"
)

// SearchOp is what a search key asks.
type SearchOp uint8

// The operations of RFC 3501 §6.4.4.
const (
	SearchAll        SearchOp = iota
	SearchAnd                 // all of Keys
	SearchOr                  // one of the two Keys
	SearchNot                 // not the one of Keys
	SearchSeq                 // Set of message numbers
	SearchUID                 // Set of UIDs
	SearchFlag                // Text is set: a system flag or a keyword
	SearchNoFlag              // Text is not set
	SearchNew                 // \Recent and not \Seen
	SearchBefore              // internal date before Date
	SearchOn                  // internal date on Date
	SearchSince               // internal date on or after Date
	SearchSentBefore          // the same for the Date field
	SearchSentOn              //
	SearchSentSince           //
	SearchLarger              // size above Number
	SearchSmaller             // size below Number
	SearchHeader              // field Field holds Text; an empty Text: it is there
	SearchBody                // the body holds Text
	SearchText                // header or body holds Text
)

// SearchKey is one node of a search's tree.
type SearchKey struct {
	Op     SearchOp
	Keys   []SearchKey
	Set    SeqSet
	Field  string
	Text   string
	Date   time.Time
	Number int64
}

// SearchReturn is the set of result options of RFC 4731 §3.1.
type SearchReturn uint8

// The result options.
const (
	ReturnMin SearchReturn = 1 << iota
	ReturnMax
	ReturnAll
	ReturnCount
)

var returnNames = [...]string{"MIN", "MAX", "ALL", "COUNT"}

// Search is the arguments of SEARCH and UID SEARCH.
type Search struct {
	Extended bool // RETURN was given: the answer is ESEARCH
	Return   SearchReturn
	Charset  string // as given; "" when not
	Key      SearchKey
}

// Search is SEARCH [RETURN (…)] [CHARSET x] 1*(SP search-key).
func (d *Decoder) Search() Search {
	var s Search
	d.sp()
	start := d.pos
	if word := d.peekWord(); word == "RETURN" {
		d.keyword()
		d.sp()
		s.Extended = true
		d.list(8, func() { s.Return |= d.searchReturn() })
		if s.Return == 0 {
			s.Return = ReturnAll // RFC 4731 §3.1
		}
		d.sp()
		start = d.pos
	}
	if d.peekWord() == "CHARSET" {
		d.pos = start
		d.keyword()
		d.sp()
		s.Charset = d.astring()
		d.sp()
	}
	s.Key = d.searchKeys(0)
	d.end()
	return s
}

// peekWord gives the atom that is next, in capitals, without stepping over it.
func (d *Decoder) peekWord() string {
	end := d.pos
	for end < len(d.line) && isAtomChar(d.line[end]) && end-d.pos < 32 {
		end++
	}
	if d.failed() {
		return ""
	}
	return strings.ToUpper(string(d.line[d.pos:end]))
}

func (d *Decoder) searchReturn() SearchReturn {
	word := d.keyword()
	for i, n := range returnNames {
		if n == word {
			return 1 << i
		}
	}
	d.invalid("unknown result option")
	return 0
}

// searchKeys is keys parted by spaces up to the end of the line or to end, all of which must hold.
func (d *Decoder) searchKeys(end byte) SearchKey {
	and := SearchKey{Op: SearchAnd}
	for !d.failed() {
		and.Keys = append(and.Keys, d.searchKey())
		if end != 0 && d.peek() == end || end == 0 && d.pos == len(d.line) {
			break
		}
		d.sp()
	}
	if len(and.Keys) == 1 {
		return and.Keys[0]
	}
	return and
}

// searchKey is one search-key.
func (d *Decoder) searchKey() SearchKey {
	if d.keys++; d.keys > maxKeys {
		d.fail(mail.TooMany, "more than %d search keys", maxKeys)
	}
	defer d.leave()
	if !d.enter() {
		return SearchKey{}
	}
	switch c := d.peek(); {
	case c == '(':
		d.pos++
		k := d.searchKeys(')')
		d.expect(')')
		return k
	case c == '*' || isDigit(c):
		return SearchKey{Op: SearchSeq, Set: d.sequenceSet()}
	}
	word := d.keyword()
	k, ok := searchWords[word]
	if !ok {
		if !d.failed() {
			d.fail(mail.Invalid, "unknown search key %s", clip(word))
		}
		return SearchKey{}
	}
	d.searchArguments(word, &k)
	return k
}

// clip keeps what may be shown of a word from the client.
func clip(s string) string { return s[:min(len(s), 32)] }

// searchWords are the keys that begin with a word; the fields that are fixed for each are set.
var searchWords = map[string]SearchKey{
	"ALL":        {Op: SearchAll},
	"ANSWERED":   {Op: SearchFlag, Text: Answered},
	"BCC":        {Op: SearchHeader, Field: "Bcc"},
	"BEFORE":     {Op: SearchBefore},
	"BODY":       {Op: SearchBody},
	"CC":         {Op: SearchHeader, Field: "Cc"},
	"DELETED":    {Op: SearchFlag, Text: Deleted},
	"DRAFT":      {Op: SearchFlag, Text: Draft},
	"FLAGGED":    {Op: SearchFlag, Text: Flagged},
	"FROM":       {Op: SearchHeader, Field: "From"},
	"HEADER":     {Op: SearchHeader},
	"KEYWORD":    {Op: SearchFlag},
	"LARGER":     {Op: SearchLarger},
	"NEW":        {Op: SearchNew},
	"NOT":        {Op: SearchNot},
	"OLD":        {Op: SearchNoFlag, Text: Recent},
	"ON":         {Op: SearchOn},
	"OR":         {Op: SearchOr},
	"RECENT":     {Op: SearchFlag, Text: Recent},
	"SEEN":       {Op: SearchFlag, Text: Seen},
	"SENTBEFORE": {Op: SearchSentBefore},
	"SENTON":     {Op: SearchSentOn},
	"SENTSINCE":  {Op: SearchSentSince},
	"SINCE":      {Op: SearchSince},
	"SMALLER":    {Op: SearchSmaller},
	"SUBJECT":    {Op: SearchHeader, Field: "Subject"},
	"TEXT":       {Op: SearchText},
	"TO":         {Op: SearchHeader, Field: "To"},
	"UID":        {Op: SearchUID},
	"UNANSWERED": {Op: SearchNoFlag, Text: Answered},
	"UNDELETED":  {Op: SearchNoFlag, Text: Deleted},
	"UNDRAFT":    {Op: SearchNoFlag, Text: Draft},
	"UNFLAGGED":  {Op: SearchNoFlag, Text: Flagged},
	"UNKEYWORD":  {Op: SearchNoFlag},
	"UNSEEN":     {Op: SearchNoFlag, Text: Seen},
}

// searchArguments reads what follows the word.
func (d *Decoder) searchArguments(word string, k *SearchKey) {
	switch k.Op {
	case SearchBody, SearchText:
		d.sp()
		k.Text = d.text(d.astring())
	case SearchHeader:
		d.sp()
		if word == "HEADER" {
			k.Field = d.headerFieldName()
			d.sp()
		}
		k.Text = d.text(d.astring())
	case SearchFlag, SearchNoFlag:
		if k.Text == "" {
			d.sp()
			k.Text = d.atom()
		}
	case SearchBefore, SearchOn, SearchSince, SearchSentBefore, SearchSentOn, SearchSentSince:
		d.sp()
		k.Date = d.date()
	case SearchLarger, SearchSmaller:
		d.sp()
		k.Number = d.number64()
	case SearchUID:
		d.sp()
		k.Set = d.sequenceSet()
	case SearchNot:
		d.sp()
		k.Keys = []SearchKey{d.searchKey()}
	case SearchOr:
		d.sp()
		a := d.searchKey()
		d.sp()
		k.Keys = []SearchKey{a, d.searchKey()}
	}
}

// headerFieldName is header-fld-name: an astring that a field name can be.
func (d *Decoder) headerFieldName() string {
	s := d.astring()
	if d.failed() {
		return ""
	}
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7f || s[i] == ':' {
			d.invalid("bad name of a header field")
			return ""
		}
	}
	if s == "" || len(s) > 998 {
		d.invalid("bad name of a header field")
	}
	return s
}
