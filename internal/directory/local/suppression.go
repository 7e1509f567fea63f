package local

import (
	"context"
	"encoding/binary"
	"iter"
	"slices"
	"strings"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// maxReason bounds the reason of a suppression, in octets.
const maxReason = 500

var _ directory.Suppressions = (*Directory)(nil)

// suppressionKey is that of a folded address: a domain's stand together.
func suppressionKey(a mail.Address) kv.Key {
	return kv.K(kv.Suppressions).Text(string(a.Domain) + "\x00" + a.Local)
}

// The sources of a suppression as its row has them.
var suppressionSources = [...]directory.SuppressionSource{directory.ByOperator, directory.ByBounce, directory.ByReport}

func encodeSuppression(s directory.Suppression) []byte {
	source := max(slices.Index(suppressionSources[:], s.Source), 0)
	k := kv.Key{format, byte(source)}.U64(uint64(max(s.Since.Unix(), 0)))
	expires := uint64(0)
	if !s.Expires.IsZero() {
		expires = uint64(max(s.Expires.Unix(), 1))
	}
	return append(k.U64(expires), s.Reason...)
}

func decodeSuppression(k kv.Key, v []byte) (directory.Suppression, error) {
	a := addressOf(k)
	b, err := body("sp", v, 17)
	if err != nil || !plausible(a) || int(b[0]) >= len(suppressionSources) {
		return directory.Suppression{}, damaged("sp")
	}
	s := directory.Suppression{
		Address: a, Source: suppressionSources[b[0]], Since: time.Unix(int64(binary.BigEndian.Uint64(b[1:])), 0), Reason: string(b[17:]),
	}
	if at := binary.BigEndian.Uint64(b[9:]); at != 0 {
		s.Expires = time.Unix(int64(at), 0)
	}
	return s, nil
}

// Suppressed gives the entry of an address in the suppression list.
func (d *Directory) Suppressed(ctx context.Context, a mail.Address) (s directory.Suppression, err error) {
	a = a.Fold()
	if !plausible(a) {
		return s, notSuppressed(a)
	}
	err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) (err error) {
		s, err = d.suppressed(r, a)
		return err
	})
	return s, err
}

func (d *Directory) suppressed(r kv.Reader, a mail.Address) (directory.Suppression, error) {
	k := suppressionKey(a)
	v, err := r.Get(k)
	if mail.Is(err, mail.NotFound) {
		return directory.Suppression{}, notSuppressed(a)
	}
	if err != nil {
		return directory.Suppression{}, err
	}
	s, err := decodeSuppression(k, v)
	if err == nil && d.expired(s) {
		err = notSuppressed(a)
	}
	return s, err
}

func (d *Directory) expired(s directory.Suppression) bool {
	return !s.Expires.IsZero() && !d.o.Clock().Before(s.Expires)
}

func notSuppressed(a mail.Address) error {
	return mail.E("directory.suppression", mail.NotFound, "%s is not on the suppression list", a)
}

// Suppress puts an address on the suppression list.
func (d *Directory) Suppress(ctx context.Context, s directory.Suppression) error {
	s.Address = s.Address.Fold()
	if err := checkAddress(s.Address); err != nil {
		return err
	}
	s.Reason = strings.Join(strings.Fields(s.Reason), " ")
	s.Reason = strings.ToValidUTF8(s.Reason[:min(len(s.Reason), maxReason)], "")
	if s.Since.IsZero() {
		s.Since = d.o.Clock()
	}
	k := suppressionKey(s.Address)
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{k}}, func(tx kv.Tx) error {
		_, err := d.suppressed(tx, s.Address)
		if err == nil && s.Source != directory.ByOperator {
			return nil
		}
		if err != nil && !mail.Is(err, mail.NotFound) {
			return err
		}
		tx.Set(k, encodeSuppression(s))
		return nil
	})
}

// Unsuppress takes an address off the suppression list; Kind NotFound.
func (d *Directory) Unsuppress(ctx context.Context, a mail.Address) error {
	a = a.Fold()
	if !plausible(a) {
		return notSuppressed(a)
	}
	k := suppressionKey(a)
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{k}, Frees: true}, func(tx kv.Tx) error {
		_, err := d.suppressed(tx, a)
		if err == nil {
			tx.Delete(k)
		}
		return err
	})
}

// Suppressions gives the suppression list by domain and local part, read page by page; what has expired is left out, and
// removed on the way.
func (d *Directory) Suppressions(ctx context.Context) iter.Seq2[directory.Suppression, error] {
	return func(yield func(directory.Suppression, error) bool) {
		from := kv.K(kv.Suppressions)
		for from != nil {
			list, next, err := d.suppressionPage(ctx, from)
			if err != nil {
				yield(directory.Suppression{}, err)
				return
			}
			var over []directory.Suppression
			for _, s := range list {
				if d.expired(s) {
					over = append(over, s)
				} else if !yield(s, nil) {
					return
				}
			}
			if err := d.expire(ctx, over); err != nil {
				yield(directory.Suppression{}, err)
				return
			}
			from = next
		}
	}
}

// suppressionPage gives the next entries, and where those behind them begin; nil at the end.
func (d *Directory) suppressionPage(ctx context.Context, from kv.Key) (list []directory.Suppression, next kv.Key, err error) {
	err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		list, next = list[:0], nil
		for row, err := range r.Scan(from, kv.K(kv.Suppressions).End(), kv.ScanOptions{Limit: page}) {
			if err != nil {
				return err
			}
			k := slices.Clone(row.Key)
			s, err := decodeSuppression(k, row.Value)
			if err != nil {
				return err
			}
			if list = append(list, s); len(list) == page {
				next = append(k, 0)
			}
		}
		return nil
	})
	return list, next, err
}

// expire removes what has expired.
func (d *Directory) expire(ctx context.Context, over []directory.Suppression) error {
	if len(over) == 0 {
		return nil
	}
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Frees: true}, func(tx kv.Tx) error {
		for _, s := range over {
			if v, err := tx.Get(suppressionKey(s.Address)); err == nil && string(v) == string(encodeSuppression(s)) {
				tx.Delete(suppressionKey(s.Address))
			}
		}
		return nil
	})
}

// SetBulk says whether an account is a bulk sender: recipients that refuse its mail for good are put on the suppression
// list, and it may not write to those who are there. With verp each recipient gets its mail from an address that names
// the recipient. Kind NotFound.
func (d *Directory) SetBulk(ctx context.Context, id mail.AccountID, bulk, verp bool) error {
	return d.change(ctx, id, func(a *account) { a.Bulk, a.VERP = bulk, bulk && verp })
}

func (v *verifier) readSuppressions(r kv.Reader) error {
	return v.scan(r, kv.Suppressions, func(k kv.Key, b []byte) {
		if _, err := decodeSuppression(k, b); err != nil {
			v.sp = append(v.sp, slices.Clone(k))
		}
	})
}

// suppressions looks at the rows sp: one that is damaged is of no more use, and its address is suppressed anew when it
// bounces again.
func (v *verifier) suppressions(ctx context.Context) error {
	for _, k := range v.sp {
		a := addressOf(k)
		f := mail.Finding{Text: "the row of a suppression is damaged: " + a.String(), Lost: "that bulk senders may not write there"}
		err := v.fix(ctx, f, 0, func(tx kv.Tx) error {
			if b, err := tx.Get(k); err == nil {
				if _, err := decodeSuppression(k, b); err != nil {
					tx.Delete(k)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
