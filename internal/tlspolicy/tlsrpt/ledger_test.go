package tlsrpt

import (
	"context"
	"maps"
	"slices"
	"sync"

	"postel/internal/mail"
)

// memory is a Ledger for tests. It keeps rows as they are encoded.
type memory struct {
	mu     sync.Mutex
	rows   map[Day]map[mail.Domain][]byte
	failed error
}

// fail has it take nothing, or again.
func (l *memory) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}

func (l *memory) Add(_ context.Context, d Day, more map[mail.Domain]Counts) (refused int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return 0, l.failed
	}
	if l.rows == nil {
		l.rows = map[Day]map[mail.Domain][]byte{}
	}
	if l.rows[d] == nil {
		l.rows[d] = map[mail.Domain][]byte{}
	}
	for m, c := range more {
		var r Row
		if b, ok := l.rows[d][m]; ok {
			r, _ = DecodeRow(b)
		}
		r.Counts.Add(c)
		l.rows[d][m], _ = r.Encode()
		delete(more, m)
	}
	return 0, nil
}

func (l *memory) Rows(_ context.Context, d Day, fn func(mail.Domain, Row) error) error {
	l.mu.Lock()
	all := maps.Clone(l.rows[d])
	l.mu.Unlock()
	for _, m := range slices.Sorted(maps.Keys(all)) {
		r, err := DecodeRow(all[m])
		if err == nil {
			err = fn(m, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *memory) Row(_ context.Context, d Day, m mail.Domain) (Row, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.rows[d][m]
	if !ok {
		return Row{}, mail.E("memory", mail.NotFound, "nothing")
	}
	return DecodeRow(b)
}

func (l *memory) Change(ctx context.Context, d Day, m mail.Domain, fn func(*Row)) error {
	r, err := l.Row(ctx, d, m)
	if err != nil {
		return err
	}
	fn(&r)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows[d][m], err = r.Encode()
	return err
}

func (l *memory) Forget(_ context.Context, before Day) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.rows, func(d Day, _ map[mail.Domain][]byte) bool { return d < before })
	return nil
}
