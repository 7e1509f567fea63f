package check

import (
	"context"
	"fmt"

	"postel/internal/blob"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
)

// Options are the rooms that are checked. Format, Directory and Queue may be nil.
type Options struct {
	Format    Format
	Store     *store.Store
	Blobs     *blob.Store
	Queue     *queue.Queue
	Directory Directory
	Index     Index // of texts; nil: there is none
}

// Index is what a check needs of the text index.
type Index interface {
	// Check tells in words what of an account's index is damaged.
	Check(ctx context.Context, a mail.AccountID) ([]string, error)
	// Rebuild builds it anew.
	Rebuild(ctx context.Context, a mail.AccountID) error
}

// Format is what a check needs of the rows that tell of which format the data is.
type Format interface {
	// Verify tells which of them are damaged, with mend after mending them.
	Verify(ctx context.Context, mend bool) ([]mail.Finding, error)
}

// Directory is what a check needs of the directory.
type Directory interface {
	// Verify tells what of its rows does not agree, with mend after mending it.
	Verify(ctx context.Context, mend bool) ([]mail.Finding, error)
	// AddressOf gives an account's main address, the null address when it has none.
	AddressOf(ctx context.Context, a mail.AccountID) mail.Address
}

// Request says what to do.
type Request struct {
	Repair  bool           `json:"repair"`
	Bodies  bool           `json:"bodies"`  // read every body and compare its digest
	Account mail.AccountID `json:"account"` // 0: everything
}

// Summary is what a check came to.
type Summary struct {
	Accounts int `json:"accounts"`
	Found    int `json:"found"`
	Mended   int `json:"mended"`
	Beyond   int `json:"beyond_repair"`
	Lost     int `json:"lost"` // findings that name something lost
}

// run is one check.
type run struct {
	Options
	Request
	tell func(mail.Finding) error
	sum  Summary
}

// Run checks what the request names and gives tell each finding as it comes; an error of tell ends it. Its own error is
// about what stops all checking: the storage gone, ctx ended.
func Run(ctx context.Context, o Options, q Request, tell func(mail.Finding) error) (Summary, error) {
	r := &run{Options: o, Request: q, tell: tell}
	steps := []func(context.Context) error{r.format, r.directory, r.accounts, r.links, r.bodies, r.queue}
	if q.Account != 0 {
		steps = []func(context.Context) error{func(ctx context.Context) error { return r.account(ctx, q.Account) }}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return r.sum, mail.Wrap("check", err)
		}
	}
	return r.sum, nil
}

// add counts findings, names their accounts and hands them on.
func (r *run) add(ctx context.Context, found ...mail.Finding) error {
	for _, f := range found {
		if f.AccountID != 0 && f.Account == "" {
			f.Account = r.address(ctx, f.AccountID)
		}
		r.sum.Found++
		switch f.State {
		case mail.Mended:
			r.sum.Mended++
		case mail.Beyond:
			r.sum.Beyond++
		}
		if f.Lost != "" {
			r.sum.Lost++
		}
		if err := r.tell(f); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) address(ctx context.Context, a mail.AccountID) string {
	if r.Directory == nil {
		return ""
	}
	if addr := r.Directory.AddressOf(ctx, a); !addr.IsNull() {
		return addr.String()
	}
	return ""
}

// also tells what one room found. A room that cannot be checked is a finding like others, unless nothing can be.
func (r *run) also(ctx context.Context, part string, found []mail.Finding, err error) error {
	if e := r.add(ctx, found...); e != nil {
		return e
	}
	switch mail.KindOf(err) {
	case mail.Unavailable, mail.Canceled:
		return err
	}
	if err != nil {
		return r.add(ctx, mail.Finding{Part: part, Text: fmt.Sprintf("it cannot be checked: %v", err), State: mail.Beyond})
	}
	return nil
}

func (r *run) format(ctx context.Context) error {
	if r.Format == nil {
		return nil
	}
	found, err := r.Format.Verify(ctx, r.Repair)
	return r.also(ctx, "format", found, err)
}

func (r *run) directory(ctx context.Context) error {
	if r.Directory == nil {
		return nil
	}
	found, err := r.Directory.Verify(ctx, r.Repair)
	return r.also(ctx, "directory", found, err)
}

func (r *run) accounts(ctx context.Context) error {
	return r.Store.EachAccount(ctx, func(a mail.AccountID) error { return r.account(ctx, a) })
}

func (r *run) account(ctx context.Context, a mail.AccountID) error {
	r.sum.Accounts++
	look := r.Store.Inspect
	if r.Repair {
		look = r.Store.Repair
	}
	found, err := look(ctx, a)
	if mail.Is(err, mail.NotFound) && r.Account == 0 {
		return nil // deleted meanwhile
	}
	if err != nil {
		for i := range found {
			found[i].AccountID = a
		}
	}
	if err := r.also(ctx, "account", found, err); err != nil || r.Index == nil {
		return err
	}
	return r.texts(ctx, a)
}

// texts looks at an account's text index. It is derived: what is damaged costs time, never mail.
func (r *run) texts(ctx context.Context, a mail.AccountID) error {
	lines, err := r.Index.Check(ctx, a)
	state := mail.Mendable
	if len(lines) > 0 && r.Repair && err == nil {
		if err = r.Index.Rebuild(ctx, a); err == nil {
			state = mail.Mended
		}
	}
	found := make([]mail.Finding, len(lines))
	for i, l := range lines {
		found[i] = mail.Finding{Part: "text index", AccountID: a, Text: l, State: state}
	}
	return r.also(ctx, "text index", found, err)
}

func (r *run) links(ctx context.Context) error {
	kinds := []blob.Owners{r.Store.LinkOwners()}
	if r.Queue != nil {
		kinds = append(kinds, r.Queue.LinkOwners())
	}
	found, err := r.Blobs.CheckLinks(ctx, r.Repair, kinds...)
	return r.also(ctx, "blobs", found, err)
}

// bodies checks the bodies and says of each damaged one which messages it was.
func (r *run) bodies(ctx context.Context) error {
	type damage struct {
		id     mail.ID
		owners []blob.Owner
		why    string
	}
	var all []damage
	found, err := r.Blobs.Check(ctx, blob.CheckOptions{Bodies: r.Bodies, Mend: r.Repair, Damaged: func(id mail.ID, o []blob.Owner, why string) {
		all = append(all, damage{id, o, why})
	}})
	if err := r.also(ctx, "blobs", found, err); err != nil {
		return err
	}
	for _, d := range all {
		for _, o := range d.owners {
			if err := r.damaged(ctx, d.id, o, d.why); err != nil {
				return err
			}
		}
	}
	return nil
}

// damaged tells of a body that cannot be read, once for each place where its message is.
func (r *run) damaged(ctx context.Context, id mail.ID, o blob.Owner, why string) error {
	f := mail.Finding{Part: "blobs", Text: fmt.Sprintf("body %s cannot be read: %s", id, why), State: mail.Beyond, Lost: "the message's body"}
	switch o.Kind {
	case blob.QueueItem:
		f.Part = "queue"
		f.Text = fmt.Sprintf("item %s: %s", queue.ID{Partition: uint16(o.A), Number: o.ID}, f.Text)
		return r.add(ctx, f)
	case blob.Email:
	default:
		return r.add(ctx, f)
	}
	f.AccountID, f.Email = mail.AccountID(o.A), o.ID
	f.Lost += "; its envelope and structure remain"
	places, err := r.Store.Places(ctx, f.AccountID, store.EmailID(o.ID))
	if err != nil && (mail.Is(err, mail.Unavailable) || mail.Is(err, mail.Canceled)) {
		return err
	}
	for _, p := range places {
		f.Mailbox, f.UID = p.Mailbox, uint32(p.UID)
		if err := r.add(ctx, f); err != nil {
			return err
		}
	}
	if len(places) == 0 {
		return r.add(ctx, f)
	}
	return nil
}

func (r *run) queue(ctx context.Context) error {
	if r.Queue == nil {
		return nil
	}
	look := r.Queue.Inspect
	if r.Repair {
		look = r.Queue.Repair
	}
	found, err := look(ctx)
	return r.also(ctx, "queue", found, err)
}
