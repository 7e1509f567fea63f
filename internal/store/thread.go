package store

import (
	"slices"
	"strings"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Threads follow Message-ID, In-Reply-To and References. An email's thread is decided once, at delivery, and never
// changes (RFC 8621 §3): it is that of the first of its ids that leads anywhere, nearest ancestor first, else a new
// one. An email is found by its own id and, for a parent or sibling that comes later, by those of its parent and of
// the thread's first message. A row rf counts the emails that keep it.

// maxLookups bounds the ids of References that are looked up: the first and the last ones.
const maxLookups = 12

// refs are the hashes of a message's ids.
type refs struct {
	kept   []uint64 // rows that it keeps: 4 at most
	lookup []uint64 // where its thread may be found, nearest first; those kept are among them
}

func hashID(id string) uint64 { return kv.Hash64(strings.ToLower(id)) }

// findRefs takes the ids from a message's envelope and kept fields.
func findRefs(root *message.Part) refs {
	var parents, own []string
	if e := root.Envelope; e != nil {
		parents = message.MessageIDs(e.InReplyTo)
		own = message.MessageIDs(e.MessageID)
	}
	var references []string
	if root.Summary != nil {
		fields, _ := message.ParseHeader(string(root.Summary.Fields))
		references = message.MessageIDs(fields.Get("References"))
	}
	var r refs
	look := func(id string) {
		if h := hashID(id); !slices.Contains(r.lookup, h) {
			r.lookup = append(r.lookup, h)
		}
	}
	keep := func(id string) {
		if h := hashID(id); !slices.Contains(r.kept, h) {
			r.kept = append(r.kept, h)
		}
	}
	if len(own) > 0 {
		keep(own[0])
	}
	if len(parents) > 0 {
		look(parents[0])
		keep(parents[0])
	}
	for i := len(references) - 1; i >= 0 && len(r.lookup) < maxLookups; i-- {
		look(references[i])
	}
	if len(references) > 0 {
		look(references[0])
		keep(references[0])
		keep(references[len(references)-1])
	}
	if len(own) > 0 {
		look(own[0])
	}
	return r
}

// thread finds the thread of email e and writes the rows by which others find it.
func (c *change) thread(e EmailID, r refs) (uint64, error) {
	thread := uint64(e)
	if len(r.lookup) > 0 {
		c.keys.reset()
		for _, h := range r.lookup {
			c.keys.add(keyReference(c.a, h))
		}
		rows, err := c.tx.GetMulti(c.keys.keys)
		if err != nil {
			return 0, mail.Wrap("store.thread", err)
		}
		if thread, err = c.keepRefs(thread, r, rows); err != nil {
			return 0, err
		}
	}
	c.set(keyThread(c.a, thread, e), nil)
	return thread, nil
}

// keepRefs takes the thread that the looked up rows lead to and writes those that are kept.
func (c *change) keepRefs(thread uint64, r refs, rows [][]byte) (uint64, error) {
	var few [2]referenceRow
	found := append(few[:0], make([]referenceRow, len(rows))...)
	known := false
	for i, row := range rows {
		if row == nil {
			continue
		}
		var err error
		if found[i], err = decodeReference(row); err != nil {
			return 0, err
		}
		if !known {
			thread, known = found[i].thread, true
		}
	}
	for i, h := range r.lookup {
		if !slices.Contains(r.kept, h) {
			continue
		}
		row := found[i]
		if row.emails == 0 {
			row.thread = thread
		}
		row.emails++
		c.set(keyReference(c.a, h), row.encode())
	}
	return thread, nil
}

// dropThread undoes thread for an email that goes.
func (c *change) dropThread(e EmailID, h *emailHead) error {
	c.tx.Delete(keyThread(c.a, h.thread, e))
	keys := make([]kv.Key, len(h.refs))
	for i, ref := range h.refs {
		keys[i] = keyReference(c.a, ref)
	}
	rows, err := c.tx.GetMulti(keys)
	if err != nil {
		return mail.Wrap("store.thread", err)
	}
	for i, v := range rows {
		if v == nil {
			return damaged("rf")
		}
		row, err := decodeReference(v)
		if err != nil {
			return err
		}
		if row.emails <= 1 {
			c.tx.Delete(keys[i])
			continue
		}
		row.emails--
		c.set(keys[i], row.encode())
	}
	return nil
}
