package faults

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/store"
)

// step is one operation of the script. What it does depends on its number and on the state only; done again after it
// has failed without effect, it does what it would have done.
type step struct {
	name string
	do   func(w *world, r *rand.Rand) error
}

const steps = 240

// script gives the steps: the kinds in turn, the rarer ones spread over it.
func script() (all []step) {
	common := []step{
		{name: "append", do: (*world).stepAppend},
		{name: "accept", do: (*world).stepAccept},
		{name: "flags", do: (*world).stepFlags},
		{name: "copy", do: (*world).stepCopy},
		{name: "move", do: (*world).stepMove},
		{name: "queue", do: (*world).stepQueue},
		{name: "attempt", do: (*world).stepAttempt},
		{name: "expunge", do: (*world).stepExpunge},
		{name: "append large", do: (*world).stepAppendLarge},
		{name: "operate", do: (*world).stepOperate},
	}
	rare := []step{
		{name: "create", do: (*world).stepCreate},
		{name: "rename", do: (*world).stepRename},
		{name: "subscribe", do: (*world).stepSubscribe},
		{name: "directory", do: (*world).stepDirectory},
		{name: "sweep", do: (*world).stepSweep},
		{name: "delete", do: (*world).stepDelete},
		{name: "rename INBOX", do: (*world).stepRenameInbox},
		{name: "clean", do: (*world).stepClean},
	}
	for i := range steps {
		s := common[i%len(common)]
		if i%6 == 5 {
			s = rare[i/6%len(rare)]
		}
		all = append(all, s)
	}
	return append(all, step{name: "delete account", do: func(w *world, _ *rand.Rand) error { return w.DeleteAccount(w.ctx, third) }})
}

// setUp makes the accounts.
func setUp(w *world, _ *rand.Rand) error {
	for _, a := range accounts() {
		err := w.kv.Update(w.ctx, kv.Txn{Lock: []kv.Key{kv.LockAccount(a)}}, func(tx kv.Tx) error { return w.InitAccount(tx, a) })
		if err != nil && !mail.Is(err, mail.Exists) {
			return err
		}
	}
	return nil
}

// text is what bodies are cut from: it compresses badly, so that many frames are written.
var text = sync.OnceValue(func() string {
	var b strings.Builder
	for r := rand.New(rand.NewPCG(1, 3)); b.Len() < 1<<20; {
		fmt.Fprintf(&b, "%016x%016x\r\n", r.Uint64(), r.Uint64())
	}
	return b.String()
})

func body(name string, size int) string {
	return fmt.Sprintf("From: <x@postel.test>\r\nSubject: %s\r\nMessage-ID: <%s@x>\r\n\r\n", name, name) + text()[:size]
}

// receive takes a message in as far as it goes without a transaction.
func (w *world) receive(size int) (*store.Message, func(), error) {
	in := w.Incoming(w.ctx)
	if _, err := in.Write([]byte(body(fmt.Sprintf("s%d", w.now.Unix()), size))); err != nil {
		in.Discard()
		return nil, nil, err
	}
	m, err := in.Seal()
	if err != nil {
		in.Discard()
		return nil, nil, err
	}
	return m, in.Discard, nil
}

func (w *world) appendTo(a mail.AccountID, box store.MailboxID, size int) error {
	m, discard, err := w.receive(size)
	if err != nil {
		return err
	}
	defer discard()
	_, err = w.AppendOne(w.ctx, m, store.Delivery{Account: a, Mailbox: box, Prefix: []byte("X-Prefix: y\r\n"), Flags: store.Seen})
	return err
}

func (w *world) stepAppend(r *rand.Rand) error {
	a := accounts()[r.IntN(3)]
	boxes, err := w.Mailboxes(w.ctx, a)
	if err != nil {
		return err
	}
	return w.appendTo(a, boxes[r.IntN(len(boxes))].ID, 100+r.IntN(1500))
}

func (w *world) stepAppendLarge(r *rand.Rand) error {
	size := 5_000 + r.IntN(30_000)
	if r.IntN(6) == 0 {
		size += 500_000 // several frames
	}
	return w.appendTo(accounts()[r.IntN(3)], store.Inbox, size)
}

// some gives some of a mailbox's UIDs.
func (w *world) some(r *rand.Rand, a mail.AccountID, box store.MailboxID) (uids []store.UID, err error) {
	v, err := w.Open(w.ctx, a, box, true)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	snap, err := v.Latest(w.ctx)
	if err != nil {
		return nil, err
	}
	for _, e := range snap.All() {
		if r.IntN(4) == 0 || snap.Len() < 3 {
			uids = append(uids, e.UID)
		}
	}
	return uids, nil
}

// two gives two mailboxes of an account.
func (w *world) two(r *rand.Rand) (a mail.AccountID, from, to store.MailboxID, err error) {
	a = accounts()[r.IntN(2)]
	boxes, err := w.Mailboxes(w.ctx, a)
	if err != nil {
		return a, 0, 0, err
	}
	from, to = store.Inbox, boxes[r.IntN(len(boxes))].ID
	if r.IntN(3) == 0 {
		from, to = to, from
	}
	if from == to {
		to = boxes[len(boxes)-1].ID
	}
	return a, from, to, nil
}

func (w *world) stepFlags(r *rand.Rand) error {
	a, box, _, err := w.two(r)
	if err != nil {
		return err
	}
	uids, err := w.some(r, a, box)
	if err != nil || len(uids) == 0 {
		return err
	}
	op, f := store.FlagOp(r.IntN(3)), store.Flags(1<<r.IntN(5))
	return w.SetFlags(w.ctx, a, box, uids, op, f, []string{fmt.Sprintf("$k%d", r.IntN(4))})
}

func (w *world) stepCopy(r *rand.Rand) error {
	a, from, to, err := w.two(r)
	if err != nil {
		return err
	}
	uids, err := w.some(r, a, from)
	if err != nil || len(uids) == 0 {
		return err
	}
	_, err = w.Copy(w.ctx, a, from, uids, to)
	return err
}

func (w *world) stepMove(r *rand.Rand) error {
	a, from, to, err := w.two(r)
	if err != nil || from == to {
		return err
	}
	uids, err := w.some(r, a, from)
	if err != nil || len(uids) == 0 {
		return err
	}
	_, err = w.Move(w.ctx, a, from, uids, to)
	return err
}

func (w *world) stepExpunge(r *rand.Rand) error {
	a, box, _, err := w.two(r)
	if err != nil {
		return err
	}
	uids, err := w.some(r, a, box)
	if err != nil || len(uids) == 0 {
		return err
	}
	_, err = w.Expunge(w.ctx, a, box, uids)
	return err
}

func (w *world) stepCreate(r *rand.Rand) error {
	_, err := w.Create(w.ctx, accounts()[r.IntN(2)], fmt.Sprintf("box%d", w.now.Unix()%1000), store.RoleNone)
	return err
}

// last gives the last mailbox of an account, which is not INBOX.
func (w *world) last(r *rand.Rand) (a mail.AccountID, m store.Mailbox, ok bool, err error) {
	a = accounts()[r.IntN(2)]
	boxes, err := w.Mailboxes(w.ctx, a)
	if err != nil || len(boxes) < 2 {
		return a, m, false, err
	}
	return a, boxes[len(boxes)-1], true, nil
}

func (w *world) stepRename(r *rand.Rand) error {
	a, m, ok, err := w.last(r)
	if err != nil || !ok {
		return err
	}
	return w.Rename(w.ctx, a, m.ID, fmt.Sprintf("in%d/of", w.now.Unix()%1000))
}

func (w *world) stepDelete(r *rand.Rand) error {
	a, m, ok, err := w.last(r)
	if err != nil || !ok {
		return err
	}
	return w.Delete(w.ctx, a, m.ID)
}

func (w *world) stepRenameInbox(*rand.Rand) error {
	return w.Rename(w.ctx, second, store.Inbox, fmt.Sprintf("old%d", w.now.Unix()%1000))
}

func (w *world) stepSubscribe(r *rand.Rand) error {
	return w.Subscribe(w.ctx, first, "INBOX", r.IntN(2) == 0)
}

func (w *world) stepDirectory(r *rand.Rand) error {
	d := mail.Domain(fmt.Sprintf("d%d.test", r.IntN(3)))
	if err := w.dir.EnsureDomain(w.ctx, directory.Domain{Name: d, Kind: directory.Local}); err != nil {
		return err
	}
	a := mail.Address{Local: fmt.Sprintf("a%d", r.IntN(3)), Domain: d}
	return w.dir.SetAlias(w.ctx, a, mail.Address{Local: "x", Domain: "elsewhere.test"})
}

func (w *world) stepSweep(*rand.Rand) error {
	_, err := w.blobs.Sweep(w.ctx, -time.Hour) // nothing else is under way
	return err
}

func (w *world) stepClean(*rand.Rand) error {
	_, err := w.queue.Clean(w.ctx)
	return err
}
