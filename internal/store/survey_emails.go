package store

import (
	"cmp"
	"fmt"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// mails is what a survey knows of an account's emails, as little of each as will do.
type mails struct {
	n, bytes int64
	orphans  []EmailID // without an entry
	broken   []EmailID // whose row is damaged or missing while entries name it
	unlinked []unlinked
	refs     []reference
	threads  []threaded
}

// unlinked is an email whose blob has no link of it.
type unlinked struct {
	email EmailID
	blob  mail.ID
}

// reference is a row rf that an email keeps.
type reference struct {
	hash, thread uint64
	email        EmailID
}

type threaded struct {
	thread uint64
	email  EmailID
}

// readEmails compares em with the entries and the blobs.
func (x *survey) readEmails() error {
	i := 0
	missing := func(until EmailID) {
		for i < len(x.entries) && x.entries[i].email < until {
			x.badEmail(x.entries[i].email, x.group(i))
			i += len(x.group(i))
		}
	}
	err := x.scan(kv.Emails, func(k kv.Key, v []byte) error {
		if len(k) != 8 {
			x.tell(mail.Finding{Part: "emails", Text: "a key is damaged"}, fix{append(kv.K(kv.Emails).Account(x.a), k...), nil})
			return nil
		}
		e := emailOf(k)
		if e == 0 || e >= endEmails {
			f := mail.Finding{Part: "emails", Email: uint64(e), Text: "its number was never given out: the key is damaged"}
			f.Lost = "a message, unless it was told of under its own number"
			x.tell(f, fix{keyEmail(x.a, e), nil})
			return nil
		}
		missing(e)
		var group []located
		if i < len(x.entries) && x.entries[i].email == e {
			group = x.group(i)
			i += len(group)
		}
		return x.readEmail(e, v, group)
	})
	missing(maxEmails)
	x.endExpunged()
	return err
}

// badEmail notes an email whose row cannot be read: a rescue sees to it.
func (x *survey) badEmail(e EmailID, group []located) {
	x.known.email = max(x.known.email, e)
	if x.leaving() || x.muted() {
		return
	}
	x.mails.broken = append(x.mails.broken, e)
	x.mails.n++
	x.mails.bytes += group[0].size
	f := x.finding("emails", group[0].place, "the message's row is damaged or missing")
	f.Email, f.State = uint64(e), mail.Mendable // by a rescue
	x.note(f)
}

func (x *survey) readEmail(e EmailID, v []byte, group []located) error {
	row, err := decodeEmail(v)
	if err == nil {
		_, err = row.email(e, message.Decode)
	}
	if err == nil && row.size < int64(len(row.prefix)) {
		err = damaged("em")
	}
	if err != nil {
		if len(group) > 0 {
			x.badEmail(e, group)
			return nil
		}
		f := mail.Finding{Part: "emails", Email: uint64(e), Text: "the row is damaged, and no entry names it"}
		f.Lost = "what it told of a message that is in no mailbox"
		x.tell(f, fix{keyEmail(x.a, e), nil})
		return nil
	}
	x.known.email = max(x.known.email, e)
	if x.kept[e] != nil {
		return x.expungedEmail(e, &row)
	}
	x.resize(group, row.size)
	gone, err := x.links(e, &row, group)
	if err != nil {
		return err
	}
	if len(group) == 0 {
		if gone {
			x.tell(mail.Finding{Part: "emails", Email: uint64(e), Text: "it is in no mailbox, and its body is gone"}, fix{keyEmail(x.a, e), nil})
			return nil
		}
		x.mails.orphans = append(x.mails.orphans, e)
	}
	x.mails.n++
	x.mails.bytes += row.size
	for _, h := range row.refs {
		x.mails.refs = append(x.mails.refs, reference{h, row.thread, e})
	}
	x.mails.threads = append(x.mails.threads, threaded{row.thread, e})
	return nil
}

// links looks for an email's blob and the link that keeps it; gone says that there is no blob.
func (x *survey) links(e EmailID, row *emailRow, group []located) (gone bool, err error) {
	there, err := x.exists(keyBlob(row.blob))
	if err != nil {
		return false, err
	}
	linked, err := x.exists(keyLink(row.blob, x.a, e))
	if err != nil {
		return false, err
	}
	switch {
	case there != rowThere && len(group) > 0:
		f := x.finding("blobs", group[0].place, "the message's body, blob %s, is missing", row.blob)
		if there == rowUnread {
			f = x.finding("blobs", group[0].place, "the message's body, blob %s, cannot be read", row.blob)
		}
		f.Email, f.Lost = uint64(e), "its body; its envelope and structure remain"
		x.beyond(f)
	case there == rowThere && linked == rowMissing && !x.muted():
		x.mails.unlinked = append(x.mails.unlinked, unlinked{e, row.blob})
		x.note(mail.Finding{
			Part: "blobs", Email: uint64(e), Text: fmt.Sprintf("blob %s has no link of the message", row.blob), State: mail.Mendable,
		})
	}
	return there == rowMissing, nil
}

// presence is what is known of a row.
type presence int

const (
	rowMissing presence = iota
	rowThere
	rowUnread // it may be there
)

// exists looks for a row without taking its value into memory for the rest of the survey.
func (x *survey) exists(k kv.Key) (presence, error) {
	for _, err := range x.r.Scan(k, append(slices.Clone(k), 0), kv.ScanOptions{Limit: 1, KeysOnly: true}) {
		switch {
		case err == nil:
			return rowThere, nil
		case mail.Is(err, mail.Internal):
			return rowUnread, nil
		}
		return rowMissing, err
	}
	return rowMissing, nil
}

// references compares rf with what the emails keep.
func (x *survey) references() error {
	refs := x.mails.refs
	slices.SortFunc(refs, func(a, b reference) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.email, b.email)) })
	if x.leaving() {
		return nil
	}
	i := 0
	group := func() []reference {
		j := i
		for j < len(refs) && refs[j].hash == refs[i].hash {
			j++
		}
		return refs[i:j]
	}
	missing := func() {
		g := group()
		row := referenceRow{thread: g[0].thread, emails: uint32(len(g))}
		x.tell(mail.Finding{Part: "references", Text: fmt.Sprintf("row %x is missing or damaged", g[0].hash)},
			fix{keyReference(x.a, g[0].hash), row.encode()})
		i += len(g)
	}
	err := x.scan(kv.References, func(k kv.Key, v []byte) error {
		if len(k) != 8 {
			x.tell(mail.Finding{Part: "references", Text: "a key is damaged"}, fix{append(kv.K(kv.References).Account(x.a), k...), nil})
			return nil
		}
		h := uint64(emailOf(k))
		for i < len(refs) && refs[i].hash < h {
			missing()
		}
		if i == len(refs) || refs[i].hash != h {
			if len(x.mails.broken) == 0 { // else one of those may keep it
				x.tell(mail.Finding{Part: "references", Text: fmt.Sprintf("row %x is kept by no email", h)}, fix{keyReference(x.a, h), nil})
			}
			return nil
		}
		g := group()
		row, err := decodeReference(v)
		want := referenceRow{thread: row.thread, emails: uint32(len(g))}
		if err != nil || row.thread == 0 || row.thread > uint64(x.known.email) {
			want.thread = g[0].thread
		}
		if (err != nil || row != want) && len(x.mails.broken) == 0 {
			x.tell(mail.Finding{Part: "references", Text: fmt.Sprintf("row %x is damaged, or not kept by as many emails as it says", h)},
				fix{keyReference(x.a, h), want.encode()})
		}
		i += len(g)
		return nil
	})
	for err == nil && i < len(refs) {
		missing()
	}
	return err
}

// threads compares th with the emails.
func (x *survey) threads() error {
	all := x.mails.threads
	slices.SortFunc(all, compareThreads)
	if x.leaving() {
		return nil
	}
	i := 0
	missing := func() {
		x.tell(mail.Finding{Part: "threads", Email: uint64(all[i].email), Text: "its thread does not have it"},
			fix{keyThread(x.a, all[i].thread, all[i].email), []byte{}})
		i++
	}
	err := x.scan(kv.Threads, func(k kv.Key, v []byte) error {
		var t threaded
		if len(k) == 16 {
			t = threaded{uint64(emailOf(k[:8])), emailOf(k)}
		}
		for i < len(all) && compareThreads(all[i], t) < 0 {
			missing()
		}
		key := append(kv.K(kv.Threads).Account(x.a), k...)
		switch {
		case i < len(all) && all[i] == t:
			i++
			if len(v) > 0 {
				x.tell(mail.Finding{Part: "threads", Email: uint64(t.email), Text: "its row is not empty"}, fix{key, []byte{}})
			}
		case slices.Contains(x.mails.broken, t.email): // its rescue needs it
		default:
			x.tell(mail.Finding{Part: "threads", Email: uint64(t.email), Text: "a thread has it that is not its own"}, fix{key, nil})
		}
		return nil
	})
	for err == nil && i < len(all) {
		missing()
	}
	return err
}

func compareThreads(a, b threaded) int {
	return cmp.Or(cmp.Compare(a.thread, b.thread), cmp.Compare(a.email, b.email))
}

// keywords looks whether every slot that a flag uses has a name.
func (x *survey) keywords() error {
	var names []string
	good := true // as it is when there is none
	err := x.scan(kv.Keywords, func(k kv.Key, v []byte) error {
		if len(k) == 0 {
			list, err := decodeKeywords(v)
			names, good = list, err == nil
		}
		return nil
	})
	if err != nil {
		return err
	}
	used := 0
	for i := range MaxKeywords {
		if x.flags&(1<<(FirstKeyword+i)) != 0 {
			used = i + 1
		}
	}
	if good && len(names) >= used {
		return nil
	}
	if !good {
		names = nil
	}
	f := mail.Finding{Part: "keywords", Text: "the names of keywords are damaged or missing"}
	if used > len(names) {
		f.Lost = fmt.Sprintf("the names of %d keywords, which are called lost-1 and so on", used-len(names))
	}
	for i := len(names); i < used; i++ {
		names = append(names, fmt.Sprintf("lost-%d", i+1))
	}
	if x.tell(f, fix{keyKeywords(x.a), encodeKeywords(names)}) {
		x.visible = true
	}
	return nil
}
