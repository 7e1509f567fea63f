package local

import (
	"context"
	"slices"
	"sync"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/proto/sasl"
)

// coverage remembers which mechanisms every account can use, so that a greeting costs no look at all of them: the
// accounts are read once, then those that this process changes, and all again after a while, as other nodes change
// them too.
type coverage struct {
	now func() time.Time
	mu  sync.Mutex
	m   map[asked]*covered
}

// asked is a question of Every.
type asked struct {
	mech string
	use  sasl.Use
}

// covered is what is known of one question.
type covered struct {
	read    time.Time // when all accounts were last read; zero: never
	checked time.Time
	lacks   mail.AccountID               // the first account that cannot; 0: all can
	at      kv.Key                       // its row of dr, or one before it: what comes before can
	dirty   map[mail.AccountID]time.Time // accounts that changed, and when
}

const (
	readAgain  = time.Hour        // while all can
	checkAgain = time.Minute      // whether the one that cannot still cannot
	maxDirty   = 100              // accounts looked at one by one
	commitTime = 10 * time.Second // in which what was changed is committed, and looked at each time
)

// changed tells that the secrets of an account are, or soon will be, others.
func (c *coverage) changed(id mail.AccountID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.m {
		if len(one.dirty) <= maxDirty {
			one.dirty[id] = c.now()
		}
	}
}

// Every tells whether every account that has a password can log in by a mechanism of stored or, for this use, shared
// secrets. What cannot be read is as if it could not.
func (d *Directory) Every(ctx context.Context, mech string, use sasl.Use) bool {
	q := asked{mech, use}
	switch mech {
	case sasl.ScramSHA256:
		return true // its keys are as old as passwords are
	case sasl.ScramSHA1:
		q.use = 0
	case sasl.CramMD5:
	default:
		return false
	}
	c := &d.coverage
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[asked]*covered{}
	}
	if c.m[q] == nil {
		c.m[q] = newCovered(time.Time{})
	}
	if err := d.cover(ctx, q, c.m[q]); err != nil {
		c.m[q] = newCovered(time.Time{})
		return false
	}
	return c.m[q].lacks == 0
}

// cover brings what is known up to date.
func (d *Directory) cover(ctx context.Context, q asked, c *covered) (err error) {
	now := d.o.Clock()
	switch {
	case c.read.IsZero(), len(c.dirty) > maxDirty, now.Sub(c.read) >= readAgain:
		*c = *newCovered(now)
		c.lacks, c.at, err = d.search(ctx, q, kv.K(kv.Directory))
		return err
	case c.lacks == 0 && len(c.dirty) == 0:
		return nil
	case c.lacks != 0 && c.dirty[c.lacks].IsZero() && now.Sub(c.checked) < checkAgain:
		return nil
	}
	if c.lacks != 0 { // it, and those behind it which were not looked at
		if now.Sub(c.dirty[c.lacks]) > commitTime {
			delete(c.dirty, c.lacks)
		}
		if c.lacks, c.at, err = d.search(ctx, q, c.at); err != nil {
			return err
		}
	}
	c.checked = now
	for id, since := range c.dirty {
		if c.lacks != 0 {
			return nil
		}
		i, err := d.lacking(ctx, q, []mail.AccountID{id})
		if err != nil {
			return err
		}
		if i >= 0 {
			c.lacks, c.at = id, kv.K(kv.Directory)
		} else if now.Sub(since) > commitTime {
			delete(c.dirty, id)
		}
	}
	return nil
}

func newCovered(read time.Time) *covered {
	return &covered{read: read, checked: read, dirty: map[mail.AccountID]time.Time{}}
}

// search gives the first account that lacks what a mechanism needs, from a row of dr on, and its row; 0 when there is
// none.
func (d *Directory) search(ctx context.Context, q asked, from kv.Key) (mail.AccountID, kv.Key, error) {
	end := kv.K(kv.Directory).End()
	for {
		rows, err := d.entryPage(ctx, from, end)
		if err != nil {
			return 0, nil, err
		}
		for part := range slices.Chunk(rows, lockedAtOnce) {
			var ids []mail.AccountID
			for _, e := range part {
				ids = append(ids, e.account) // 0, of an alias, has nothing to lack
			}
			i, err := d.lacking(ctx, q, ids)
			if err != nil {
				return 0, nil, err
			}
			if i >= 0 {
				return ids[i], addressKey(part[i].address), nil
			}
		}
		if len(rows) < page {
			return 0, nil, nil
		}
		from = append(addressKey(rows[len(rows)-1].address), 0)
	}
}

const lockedAtOnce = 100 // accounts

// lacking gives the index of the first of the accounts that has a password but not what a mechanism needs; -1 when there
// is none.
func (d *Directory) lacking(ctx context.Context, q asked, ids []mail.AccountID) (at int, err error) {
	var locks, keys []kv.Key
	for _, id := range ids {
		locks = append(locks, kv.LockAccount(id))
		for _, kind := range [...]uint8{kindHash, kindSCRAM1, kindSealed, kindShared} {
			keys = append(keys, credentialKey(id, kind))
		}
	}
	err = d.o.KV.View(ctx, locks, func(r kv.Reader) error {
		at = -1
		rows, err := r.GetMulti(keys)
		if err != nil {
			return err
		}
		for i := range ids {
			row := rows[4*i : 4*i+4]
			can := row[1] != nil
			if q.mech == sasl.CramMD5 {
				can = row[2] != nil || sharedUses(row[3])&q.use == q.use
			}
			if row[0] != nil && !can {
				at = i
				return nil
			}
		}
		return nil
	})
	return at, mail.Wrap("directory.every", err)
}
