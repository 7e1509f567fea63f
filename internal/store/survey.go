package store

import (
	"context"
	"fmt"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// A survey recounts an account. What mail is (mb, en, em and the blobs) decides; what is derived from it is compared
// with it: xe, th, rf, the counters na and nm. A damaged row of the former is made anew from what the others still
// tell of it. Inspect does it on a snapshot, Repair inside an Update that then writes the differences.
//
// Where a range cannot be read nothing is decided upon what may be there: the steps that would are mute, and the others go
// on.
//
// What was given out is never given out again: where a damaged counter cannot be proven it moves beyond all that is
// known by a wide step, and a mailbox whose UIDNEXT cannot be proven gets another UIDVALIDITY.
type survey struct {
	s     *Store
	a     mail.AccountID
	r     kv.Reader
	found []mail.Finding
	mend  bool               // what is told as mendable is about to be mended
	blind map[kv.Prefix]bool // tables of which a range cannot be read
	mute  []kv.Prefix        // those that the step at work decides upon
	plan  []fix              // what mends all that was found
	size  int                // octets of plan
	more  bool               // the plan is full: there is more to mend

	acct    accountRow
	acctWas accountRow // as it was found
	acctOK  bool       // the row na can be read
	boxes   map[MailboxID]*surveyed
	jobs    []job
	entries []located // by email
	broken  []place   // entries whose rows are damaged
	flags   Flags     // of all entries together
	mails   mails
	kept    map[EmailID]kv.Key // expunged, and can be brought back
	log     surveyedLog
	known   known  // the highest of everything ever seen
	seq     ModSeq // of this repair
	visible bool   // clients see what the repair changes: they read everything anew
}

// fix is a row to be written, or with a nil value deleted.
type fix struct {
	key   kv.Key
	value []byte
}

// located is an entry, as far as a survey remembers it.
type located struct {
	email EmailID
	place
	copy uint32
	size int64
}

// known are the highest numbers that anything in the account tells of.
type known struct {
	email   EmailID
	mailbox MailboxID
	modSeq  ModSeq
}

// How far a number moves beyond what is known when it cannot be proven.
const (
	jumpEmail  = 1 << 20
	jumpModSeq = 1 << 24
	jumpCopy   = 1 << 10
)

// Numbers at and beyond these were never given out: who has one is damaged. They leave room to go on from what is below.
const (
	endEmails  = maxEmails - 4*jumpEmail
	endModSeqs = 1 << 60
)

// Limits of a survey.
const (
	maxFindings = 1000
	maxPlanRows = 20_000
	maxPlanSize = 8 << 20
)

// surveyLocks are those of a survey: of the account, and of the jobs that may be under way.
func surveyLocks(a mail.AccountID) []kv.Key { return []kv.Key{kv.LockAccount(a), kv.LockServer()} }

// Inspect recounts everything of an account and tells what does not agree, without changing anything. Entries that
// a COPY or a Delete has under way are as they should be. Kind NotFound for no account.
func (s *Store) Inspect(ctx context.Context, a mail.AccountID) ([]mail.Finding, error) {
	x, err := s.survey(ctx, a)
	if err != nil {
		return nil, err
	}
	return x.found, nil
}

func (s *Store) survey(ctx context.Context, a mail.AccountID) (*survey, error) {
	var x *survey
	err := s.o.KV.View(ctx, surveyLocks(a), func(r kv.Reader) error {
		x = &survey{s: s, a: a, r: r}
		return x.run(ctx)
	})
	return x, mail.Wrap("store.check", err)
}

// surveyStep is a part of a survey, and the tables that it decides upon.
type surveyStep struct {
	run func() error
	of  []kv.Prefix
}

func (x *survey) all() []surveyStep {
	boxes := []kv.Prefix{kv.Mailboxes, kv.BoxCounters, kv.Entries}
	mails := append([]kv.Prefix{kv.Emails, kv.Expunged}, boxes...)
	with := func(list []kv.Prefix, more ...kv.Prefix) []kv.Prefix { return append(slices.Clone(list), more...) }
	return []surveyStep{
		{x.readJobs, nil},
		{x.readMailboxes, nil},
		{x.readAccount, nil},
		{x.readLog, nil},
		{x.readEntries, nil},
		{x.begin, nil},
		{x.readExpunged, mails},
		{x.readEmails, mails},
		{x.adopt, with(mails, kv.Where)},
		{x.where, with(boxes, kv.Where)},
		{x.references, with(mails, kv.References)},
		{x.threads, with(mails, kv.Threads)},
		{x.keywords, []kv.Prefix{kv.Entries, kv.Keywords}},
		{x.settleMailboxes, boxes},
		{x.settleAccount, nil}, // it sees to that itself
	}
}

// run takes the survey, each step on what the ones before it have found.
func (x *survey) run(ctx context.Context) error {
	x.boxes, x.blind = map[MailboxID]*surveyed{}, map[kv.Prefix]bool{}
	for _, step := range x.all() {
		if err := ctx.Err(); err != nil {
			return &mail.Error{Op: "store.check", Kind: mail.Canceled, Err: err}
		}
		x.mute = step.of
		if err := step.run(); err != nil {
			return err
		}
	}
	return nil
}

// muted tells whether the step at work decides upon what cannot be read. Without the account's counters nothing can be
// changed, and what its jobs are doing must be known.
func (x *survey) muted() bool {
	return x.blindTo(x.mute...) || x.blindTo(kv.Server, kv.Counters) || len(x.blind) > 0 && !x.acctOK
}

func (x *survey) blindTo(tables ...kv.Prefix) bool {
	return slices.ContainsFunc(tables, func(p kv.Prefix) bool { return x.blind[p] })
}

// scan gives fn all rows of a table that are the account's, around what cannot be read.
func (x *survey) scan(p kv.Prefix, fn func(k kv.Key, v []byte) error) error {
	from := kv.K(p).Account(x.a)
	for row, err := range kv.Salvage(x.r, from, from.End(), kv.ScanOptions{}, x.unreadable) {
		if err != nil {
			return err
		}
		if err := fn(row.Key[len(from):], row.Value); err != nil {
			return err
		}
	}
	return nil
}

// unreadable notes a range that the engine cannot read.
func (x *survey) unreadable(from, to kv.Key, err error) {
	x.blind[kv.Prefix(from[:2])] = true
	f := mail.Finding{
		Part: string(from[:2]), Text: fmt.Sprintf("the rows from %x to %x cannot be read: %v", []byte(from), []byte(to), err),
	}
	if !slices.ContainsFunc(x.found, func(o mail.Finding) bool { return o.Text == f.Text }) { // a table is read twice
		x.beyond(f)
	}
}

// tell notes something wrong and what mends it. It gives false when the plan is full: then nothing was noted, and the
// next round finds it again; and when the step is mute.
func (x *survey) tell(f mail.Finding, fixes ...fix) bool {
	if x.muted() {
		return false
	}
	if x.mend && (len(x.plan)+len(fixes) > maxPlanRows || x.size > maxPlanSize) {
		x.more = true
		return false
	}
	for _, p := range fixes {
		x.size += len(p.key) + len(p.value)
	}
	if x.mend {
		x.plan = append(x.plan, fixes...)
	}
	f.State = mail.Mendable
	x.note(f)
	return true
}

// beyond notes something wrong that this survey cannot mend.
func (x *survey) beyond(f mail.Finding) {
	f.State = mail.Beyond
	x.note(f)
}

func (x *survey) note(f mail.Finding) {
	f.AccountID = x.a
	if len(x.found) < maxFindings {
		x.found = append(x.found, f)
	}
}

// finding begins one about an entry or a mailbox.
func (x *survey) finding(part string, p place, format string, args ...any) mail.Finding {
	f := mail.Finding{Part: part, UID: uint32(p.uid), Text: fmt.Sprintf(format, args...)}
	if p.m != 0 {
		f.Mailbox = x.nameOf(p.m)
	}
	return f
}

// readJobs takes down what is under way on the account.
func (x *survey) readJobs() error {
	from := kv.K(kv.Server).Text(jobPrefix)
	for row, err := range kv.Salvage(x.r, from, from.End(), kv.ScanOptions{}, x.unreadable) {
		if err != nil {
			return err
		}
		k := row.Key[len(from):]
		if len(k) != 1+8+4+4 || mail.AccountID(emailOf(k[:9])) != x.a {
			continue
		}
		j, err := decodeJob(row.Value)
		if err != nil {
			j = job{kind: jobKind(k[0]), a: x.a, m: MailboxID(lastUint32(k[:13])), first: UID(lastUint32(k))}
			f := mail.Finding{Part: "jobs", Text: "a job's row is damaged"}
			if j.kind == jobStaged || j.kind == jobInbox {
				// Its end is lost: what it staged becomes part of the mailbox, what it has not moved stays in INBOX.
				x.tell(f, fix{slices.Clone(row.Key), nil})
				continue
			}
			x.tell(f, fix{slices.Clone(row.Key), j.encode()})
		}
		x.jobs = append(x.jobs, j)
	}
	return nil
}

// leaving tells whether the account is being deleted.
func (x *survey) leaving() bool {
	return slices.ContainsFunc(x.jobs, func(j job) bool { return j.kind == jobAccount })
}

// emptied tells whether a mailbox is being emptied because it is gone.
func (x *survey) emptied(m MailboxID) bool {
	return slices.ContainsFunc(x.jobs, func(j job) bool { return j.kind == jobEmpty && j.m == m || j.kind == jobAccount })
}

// begin settles under which MODSEQ a repair stands, before rows are made that carry it.
func (x *survey) begin() error {
	switch {
	case !x.acctOK:
		x.acct.modSeq = x.known.modSeq + jumpModSeq
	case x.acct.modSeq < x.known.modSeq:
		x.tell(mail.Finding{Part: "counters", Text: fmt.Sprintf(
			"the account's MODSEQ is %d, and %d was given out", x.acct.modSeq, x.known.modSeq)})
		x.acct.modSeq = x.known.modSeq + jumpModSeq
		x.visible = true
	}
	x.seq = x.acct.modSeq + 1
	return nil
}
