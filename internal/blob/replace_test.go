package blob_test

import (
	"bytes"
	"io"
	"testing"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// TestReplace puts a body in the place of a damaged one, in a row and in a file: its links stay. Another body than what is
// left of the old one tells of is refused, and does no more harm.
func TestReplace(t *testing.T) {
	t.Parallel()
	for _, size := range []int{3000, 300_000} {
		w := strictly(t)
		body := bytes.Repeat([]byte("0123456789abcdef "), size/17)
		id := w.put(t, body, owner)
		condition := func(of mail.ID, want blob.Condition) {
			t.Helper()
			if c, err := w.blobs.Condition(t.Context(), of); c != want || err != nil {
				t.Errorf("%d octets: condition %d, %v, not %d", size, c, err, want)
			}
		}
		condition(id, blob.Whole)
		condition(mail.ID{'x'}, blob.Absent)
		set := func(v []byte) {
			t.Helper()
			err := w.kv.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockBlob(id)}}, func(tx kv.Tx) error {
				if k := kv.K(kv.Blobs).ID(id); v != nil {
					tx.Set(k, v)
				} else {
					tx.Delete(k)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		replace := func(with []byte) error {
			t.Helper()
			b := w.blobs.NewAs(t.Context(), id)
			defer b.Discard()
			if _, err := b.Write(with); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Seal(); err != nil {
				t.Fatal(err)
			}
			return w.blobs.Replace(t.Context(), b)
		}
		if err := replace(append([]byte("x"), body...)); !mail.Is(err, mail.Exists) {
			t.Error(err)
		}
		for _, v := range [][]byte{{9}, nil} {
			set(v)
			condition(id, blob.Damaged)
			if err := replace(body); err != nil {
				t.Fatal(err)
			}
			condition(id, blob.Whole)
			r, err := w.blobs.Open(t.Context(), id, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d octets came back as %d, %v", len(body), len(got), err)
			}
			_ = r.Close()
		}
		if n, err := w.blobs.Sweep(t.Context(), -1); n != 0 || err != nil {
			t.Errorf("%d swept, %v", n, err)
		}
		condition(id, blob.Whole)
	}
}
