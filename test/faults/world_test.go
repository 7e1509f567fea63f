package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/directory/local"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
	"postel/internal/vfs"
)

const (
	inlineMax = 2000 // larger bodies are files
	first     = mail.AccountID(1)
	second    = mail.AccountID(2)
	third     = mail.AccountID(3)
)

func accounts() []mail.AccountID { return []mail.AccountID{first, second, third} }

// world is everything that keeps mail, over one file system.
type world struct {
	ctx   context.Context
	kv    *pebble.Store
	blobs *blob.Store
	*store.Store
	queue *queue.Queue
	dir   *local.Directory
	now   time.Time
}

// start is when the script begins; its clock moves by a second a step, so that it does the same in each run.
func start() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

// open opens it as a node does, or makes it. What was opened is closed again on an error.
func open(ctx context.Context, fs vfs.FS) (_ *world, err error) {
	w := &world{ctx: ctx, now: start()}
	if w.kv, err = pebble.Open(pebble.Options{FS: fs, Dir: "data/kv", MemTableSize: 64 << 10}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	large, err := file.New(file.Options{FS: fs, Dir: "data/blobs"})
	if err != nil {
		return nil, err
	}
	clock := func() time.Time { return w.now }
	// The files' times are those of the machine: blob compares them with its clock.
	w.blobs = blob.New(blob.Options{KV: w.kv, Large: large, InlineMax: inlineMax})
	w.Store = store.New(store.Options{KV: w.kv, Blobs: w.blobs, Clock: clock})
	w.queue = queue.New(queue.Options{KV: w.kv, Blobs: w.blobs, Clock: clock})
	if w.dir, err = local.New(ctx, local.Options{KV: w.kv, Clock: clock}); err != nil {
		return nil, err
	}
	return w, w.ResumeJobs(ctx)
}

func (w *world) close() error {
	var err error
	if w.Store != nil {
		err = w.Store.Close()
	}
	return errors.Join(err, w.kv.Close())
}

// failed tells whether the store serves no more.
func (w *world) failed() bool {
	select {
	case <-w.kv.Failed():
		return true
	default:
		return false
	}
}

// state tells everything that a client, an operator or a server elsewhere can see, in words; the same words mean the
// same state.
func (w *world) state() (string, error) {
	var b strings.Builder
	for _, a := range accounts() {
		boxes, err := w.Mailboxes(w.ctx, a)
		if mail.Is(err, mail.NotFound) {
			fmt.Fprintf(&b, "no account %d\n", a)
			continue
		}
		if err != nil {
			return "", err
		}
		for _, m := range boxes {
			if err := w.tellMailbox(&b, a, m); err != nil {
				return "", err
			}
		}
	}
	if err := w.tellQueue(&b); err != nil {
		return "", err
	}
	return b.String(), w.tellDirectory(&b)
}

func (w *world) tellMailbox(b *strings.Builder, a mail.AccountID, m store.Mailbox) error {
	st, err := w.Status(w.ctx, a, m.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "account %d %+v %+v\n", a, m, st)
	v, err := w.Open(w.ctx, a, m.ID, true)
	if err != nil {
		return err
	}
	defer v.Close()
	snap, err := v.Latest(w.ctx)
	if err != nil {
		return err
	}
	for _, x := range snap.All() {
		e, err := w.Email(w.ctx, a, x.Email)
		if err != nil {
			return err
		}
		r, err := w.OpenBody(w.ctx, e, 0, -1)
		if err != nil {
			return err
		}
		sum, err := digest(r)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  %d email %d copy %d flags %x modseq %d size %d %s\n", x.UID, x.Email, x.Copy, x.Flags, x.ModSeq, x.Size, sum)
	}
	return nil
}

func digest(r io.ReadCloser) (string, error) {
	h := xxhash.New()
	_, err := io.Copy(h, r)
	return fmt.Sprintf("%016x", h.Sum64()), errors.Join(err, r.Close())
}

// tellQueue leaves the items' ids out, which are made of time and chance.
func (w *world) tellQueue(b *strings.Builder) error {
	items, err := w.items()
	if err != nil {
		return err
	}
	var lines []string
	for _, it := range items {
		r, err := w.blobs.Open(w.ctx, it.Blob, 0, -1)
		if err != nil {
			return err
		}
		sum, err := digest(r)
		if err != nil {
			return err
		}
		line := fmt.Sprintf("queue %s size %d %s", it.Destination, it.Size, sum)
		for _, x := range it.Recipients {
			line += fmt.Sprintf(" %s %v due %d attempts %d last %d", x.Address, x.State, x.Due.Unix(), x.Attempts, x.Last.Code)
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	return nil
}

// items lists the queue in the order of destinations and recipients.
func (w *world) items() ([]*queue.Item, error) {
	items, _, err := w.queue.List(w.ctx, queue.Filter{})
	slices.SortFunc(items, func(x, y *queue.Item) int {
		return strings.Compare(x.Recipients[0].Address.String(), y.Recipients[0].Address.String())
	})
	return items, err
}

func (w *world) tellDirectory(b *strings.Builder) error {
	domains, err := w.dir.Domains(w.ctx)
	if err != nil {
		return err
	}
	for _, d := range domains {
		fmt.Fprintf(b, "domain %+v\n", d)
	}
	for a, err := range w.dir.Aliases(w.ctx) {
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "alias %v\n", a)
	}
	return nil
}

// broken gives the invariants that do not hold.
func (w *world) broken() (all []string, err error) {
	for _, a := range accounts() {
		found, err := w.Check(w.ctx, a)
		if err != nil && !mail.Is(err, mail.NotFound) {
			return all, err
		}
		all = append(all, found...)
		if found, err = w.CheckLinks(w.ctx, a); err != nil {
			return all, err
		}
		all = append(all, found...)
	}
	found, err := w.queue.Check(w.ctx, func(r kv.Reader, id mail.ID, o blob.Owner) (bool, error) {
		k := kv.K(kv.BlobLinks).ID(id).U8(byte(o.Kind)).U64(o.A).U64(o.ID)
		_, err := r.Get(k)
		return err == nil, nil
	})
	return append(all, found...), err
}
