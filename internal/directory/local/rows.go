package local

import (
	"encoding/binary"
	"strings"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

func damaged(table string) error {
	return mail.E("directory."+table, mail.Internal, "a row of the directory is damaged")
}

// body takes a row's version off.
func body(table string, v []byte, least int) ([]byte, error) {
	if len(v) < 1+least || v[0] != format {
		return nil, damaged(table)
	}
	return v[1:], nil
}

func domainKey(d mail.Domain) kv.Key { return kv.K(kv.Domains).Text(string(d)) }

// domainOf gives the name in a key of dm.
func domainOf(k kv.Key) mail.Domain { return mail.Domain(k[2:]) }

func encodeDomain(d directory.Domain) []byte {
	kind := byte('l')
	if d.Kind == directory.Relay {
		kind = 'r'
	}
	k := kv.Key{format, kind}
	switch asked := len(d.ODMR) > 0 || !d.ETRN.IsZero(); {
	case asked:
		k[0] = formatAsked
		k = k.U64(uint64(d.Quota)).U64(uint64(d.MaxMessages))
		k = append(k, d.CatchAll.String()...)
		for _, a := range d.ODMR {
			k = append(append(k, "\nodmr "...), a.String()...)
		}
		for _, s := range d.ETRN.Strings() {
			k = append(append(k, "\netrn "...), s...)
		}
		return k
	case d.Quota != 0 || d.MaxMessages != 0:
		k[0] = formatLimits
		k = k.U64(uint64(d.Quota)).U64(uint64(d.MaxMessages))
	}
	return append(k, d.CatchAll.String()...)
}

// The versions of a row of dm. Rows that need no more stay as they were first:
//
//	1 kind catchall
//	2 kind octets[8] messages[8] catchall                               how much its accounts may hold
//	3 kind octets[8] messages[8] catchall, lines "odmr account", "etrn caller"  who may ask for its mail
const (
	formatLimits = 2
	formatAsked  = 3
)

func decodeDomain(name mail.Domain, v []byte) (directory.Domain, error) {
	d := directory.Domain{Name: name, Kind: directory.Local}
	var asked string
	if len(v) >= 18 && (v[0] == formatLimits || v[0] == formatAsked) {
		d.Quota, d.MaxMessages = int64(binary.BigEndian.Uint64(v[2:])), int64(binary.BigEndian.Uint64(v[10:]))
		if d.Quota < 0 || d.MaxMessages < 0 {
			return directory.Domain{}, damaged("dm")
		}
		text := string(v[18:])
		if v[0] == formatAsked {
			text, asked, _ = strings.Cut(text, "\n")
		}
		v = append([]byte{format, v[1]}, text...)
	}
	b, err := body("dm", v, 1)
	if err != nil {
		return directory.Domain{}, err
	}
	if b[0] == 'r' {
		d.Kind = directory.Relay
	}
	if len(b) > 1 {
		if d.CatchAll, err = mail.ParseAddress(string(b[1:])); err != nil {
			return directory.Domain{}, damaged("dm")
		}
	}
	if asked != "" {
		err = decodeAsked(&d, asked)
	}
	return d, err
}

// decodeAsked reads who may ask for a domain's mail.
func decodeAsked(d *directory.Domain, text string) error {
	var callers []string
	for line := range strings.SplitSeq(text, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		a, err := mail.ParseAddress(rest)
		switch {
		case word == "etrn":
			callers = append(callers, rest)
		case word == "odmr" && err == nil:
			d.ODMR = append(d.ODMR, a)
		default:
			return damaged("dm")
		}
	}
	var err error
	if d.ETRN, err = mail.ParseCallers(callers); err != nil {
		return damaged("dm")
	}
	return nil
}

// addressKey is that of a folded address.
func addressKey(a mail.Address) kv.Key {
	return kv.K(kv.Directory).Text(string(a.Domain) + "\x00" + a.Local)
}

// addressOf gives the address in a key of dr.
func addressOf(k kv.Key) mail.Address {
	domain, local, _ := strings.Cut(string(k[2:]), "\x00")
	return mail.Address{Local: local, Domain: mail.Domain(domain)}
}

// entry is a row of dr: an account's address, or an alias.
type entry struct {
	account mail.AccountID
	catcher bool // the account takes any password
	targets []mail.Address
}

// Flags of rows dr (the first alone) and ac.
const (
	flagCatcher = 1 << iota
	flagDisabled
	flagBulk
	flagVERP
)

func (e entry) encode() []byte {
	var flags byte
	if e.catcher {
		flags = flagCatcher
	}
	if e.account != 0 {
		return kv.Key{format, flags, 'a'}.Account(e.account)
	}
	v := []byte{format, flags, 'l'}
	for i, t := range e.targets {
		if i > 0 {
			v = append(v, '\n')
		}
		v = append(v, t.String()...)
	}
	return v
}

func decodeEntry(v []byte) (entry, error) {
	b, err := body("dr", v, 3)
	if err != nil {
		return entry{}, err
	}
	e := entry{catcher: b[0]&flagCatcher != 0}
	switch {
	case b[1] == 'a' && len(b) == 10:
		if e.account = mail.AccountID(binary.BigEndian.Uint64(b[2:])); e.account == 0 {
			return entry{}, damaged("dr")
		}
		return e, nil
	case b[1] != 'l':
		return entry{}, damaged("dr")
	}
	for line := range strings.SplitSeq(string(b[2:]), "\n") {
		a, err := mail.ParseAddress(line)
		if err != nil {
			return entry{}, damaged("dr")
		}
		e.targets = append(e.targets, a)
	}
	return e, nil
}

func accountKey(id mail.AccountID) kv.Key { return kv.K(kv.Accounts).Account(id) }

// account is a row of ac.
type account struct {
	directory.Account
	made time.Time
}

func (a account) encode() []byte {
	var flags byte
	for flag, on := range map[byte]bool{flagCatcher: a.Catcher, flagDisabled: a.Disabled, flagBulk: a.Bulk, flagVERP: a.VERP} {
		if on {
			flags |= flag
		}
	}
	k := kv.Key{format, flags}.U64(uint64(max(a.Quota, 0))).U64(uint64(a.made.Unix()))
	k = append(k, a.Address.String()...)
	for _, other := range a.SendAs {
		k[0] = formatSendAs
		k = append(append(k, '\n'), other.String()...)
	}
	return k
}

// formatSendAs is the version of a row of ac whose account may write as others: their addresses follow its own, a line
// each. Rows of accounts that may not stay of version 1.
const formatSendAs = 2

func decodeAccount(id mail.AccountID, v []byte) (account, error) {
	if len(v) > 0 && v[0] == formatSendAs {
		v = append([]byte{format}, v[1:]...)
	}
	b, err := body("ac", v, 18)
	if err != nil {
		return account{}, err
	}
	var list []mail.Address
	for line := range strings.SplitSeq(string(b[17:]), "\n") {
		addr, err := mail.ParseAddress(line)
		if err != nil {
			return account{}, damaged("ac")
		}
		list = append(list, addr)
	}
	addr := list[0]
	a := account{made: time.Unix(int64(binary.BigEndian.Uint64(b[9:])), 0)}
	a.Account = directory.Account{
		ID: id, Address: addr, Addresses: []mail.Address{addr}, Quota: int64(binary.BigEndian.Uint64(b[1:])),
		Catcher: b[0]&flagCatcher != 0, Disabled: b[0]&flagDisabled != 0,
		Bulk: b[0]&flagBulk != 0, VERP: b[0]&flagVERP != 0,
		SendAs: list[1:],
	}
	return a, nil
}

// The kinds of credentials.
const (
	kindHash   = 1
	kindSCRAM  = 2 // of SHA-256
	kindSealed = 3 // the password
	kindSCRAM1 = 4 // of SHA-1
	kindShared = 5 // a secret apart from the password
)

func credentialKey(id mail.AccountID, kind uint8) kv.Key {
	return kv.K(kv.Credentials).Account(id).U8(kind).U32(0)
}
