package store

import (
	"errors"
	"fmt"

	"postel/internal/kv"
	"postel/internal/mail"
)

// surveyedLog is the change log as it was found.
type surveyedLog struct {
	rows  uint64
	bad   bool              // rows are damaged, or do not belong
	drop  bool              // all of it goes, and clients read everything anew
	whole bool              // it tells of everything that ever happened
	next  map[MailboxID]UID // above every UID that it tells of
}

// readLog reads lg: which UIDs were given out, and whether it can be read.
func (x *survey) readLog() error {
	x.log.next = map[MailboxID]UID{}
	err := x.scan(kv.Log, func(k kv.Key, v []byte) error {
		x.log.rows++
		if len(k) != 8 {
			x.log.bad = true
			return nil
		}
		seq := logSeq(k)
		if seq >= endModSeqs {
			x.log.bad = true
			return nil
		}
		x.known.modSeq = max(x.known.modSeq, seq)
		row, err := decodeLog(v)
		if err != nil || x.acctOK && seq <= x.acct.floor {
			x.log.bad = true
			return nil
		}
		for _, o := range row.ops {
			x.known.mailbox = max(x.known.mailbox, o.m)
			for _, r := range o.uids {
				x.log.next[o.m] = max(x.log.next[o.m], r.end)
			}
			for _, e := range o.gone {
				if e < endEmails {
					x.known.email = max(x.known.email, e)
				}
			}
		}
		return nil
	})
	x.log.whole = x.acctOK && len(x.blind) == 0 && !x.log.bad && x.acct.floor == 0 && x.log.rows == x.acct.logRows
	return err
}

// readAccount reads na. Kind NotFound when nothing at all tells of the account.
func (x *survey) readAccount() error {
	v, err := x.r.Get(keyCounters(x.a))
	switch {
	case err == nil:
		if x.acct, err = decodeAccount(v); err == nil && x.acct.nextEmail < endEmails && x.acct.modSeq < endModSeqs {
			x.acctOK, x.acctWas = true, x.acct
		} else {
			x.acct = accountRow{}
		}
		return nil
	case errors.Is(err, kv.ErrNotFound):
	case mail.Is(err, mail.Internal):
		x.unreadable(keyCounters(x.a), keyCounters(x.a+1), err)
		return nil
	default:
		return mail.Wrap("store.check", err)
	}
	for _, p := range []kv.Prefix{kv.Mailboxes, kv.Entries, kv.Emails} {
		from := kv.K(p).Account(x.a)
		for range x.r.Scan(from, from.End(), kv.ScanOptions{Limit: 1, KeysOnly: true}) {
			return nil
		}
	}
	return mail.E("store.account", mail.NotFound, "no such account")
}

// settleAccount compares na with everything.
func (x *survey) settleAccount() error {
	if x.leaving() || x.muted() {
		return nil
	}
	part := func(format string, args ...any) {
		x.tell(mail.Finding{Part: "counters", Text: fmt.Sprintf(format, args...)})
	}
	if !x.acctOK {
		part("the account's counters are damaged or missing")
		x.visible = true
	}
	if x.acct.nextEmail <= x.known.email {
		if x.acctOK {
			part("the next email is %d, and %d was given out", x.acct.nextEmail, x.known.email)
		}
		x.acct.nextEmail = x.known.email + jumpEmail
	}
	if x.acct.nextMailbox <= x.known.mailbox {
		if x.acctOK {
			part("the next mailbox is %d, and %d was given out", x.acct.nextMailbox, x.known.mailbox)
		}
		x.acct.nextMailbox = x.known.mailbox + 1
	}
	for _, b := range x.boxes {
		if b.mb != nil && b.mb.validity > x.acct.lastValidity {
			if x.acctOK {
				part("the last UIDVALIDITY is %d, and %d was given out", x.acct.lastValidity, b.mb.validity)
			}
			x.acct.lastValidity = b.mb.validity
		}
	}
	x.settleTotals(part)
	if x.visible {
		x.log.drop = true
		x.acct.modSeq, x.acct.floor, x.acct.logRows = x.seq, x.seq, 0
	}
	if x.mend && (x.acct != x.acctWas || !x.acctOK) {
		x.plan = append(x.plan, fix{keyCounters(x.a), x.acct.encode()})
	}
	return nil
}

// settleTotals compares what the account has with what it says, as far as all of that can be read.
func (x *survey) settleTotals(part func(format string, args ...any)) {
	if !x.blindTo(kv.Emails, kv.Entries, kv.Expunged) && (x.acct.bytes != x.mails.bytes || x.acct.messages != x.mails.n) {
		if x.acctOK {
			part("the account says %d emails of %d octets, and has %d of %d", x.acct.messages, x.acct.bytes, x.mails.n, x.mails.bytes)
		}
		x.acct.bytes, x.acct.messages = x.mails.bytes, x.mails.n
	}
	switch {
	case x.blindTo(kv.Log):
	case x.log.bad || x.acctOK && x.log.rows < x.acct.logRows || x.acct.floor > x.acct.modSeq:
		part("the change log is damaged: clients read everything anew")
		x.visible = true
	case x.acctOK && x.log.rows != x.acct.logRows:
		part("the change log has %d rows and says %d", x.log.rows, x.acct.logRows)
		x.acct.logRows = x.log.rows
	}
}
