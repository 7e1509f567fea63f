// Package blobtest is the conformance suite of the backends for large blobs.
package blobtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/mail"
)

// Run is passed by every backend. open gives an empty one.
func Run(t *testing.T, open func(t *testing.T) blob.Large) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *backend){
		"ReadBack": testReadBack, "Unseen": testUnseen, "Remove": testRemove, "List": testList, "Parallel": testParallel,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, &backend{Large: open(t)})
		})
	}
}

// backend is one under test.
type backend struct {
	blob.Large
	ids mail.IDs
}

func put(t *testing.T, l blob.Large, id mail.ID, body []byte) {
	t.Helper()
	w, err := l.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort() // does nothing after Commit
	for piece := range slices.Chunk(bytes.Clone(body), 1000) {
		if n, err := w.Write(piece); err != nil || n != len(piece) {
			t.Fatal(n, err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

// check reads the object, whole and in part; a nil body is that there is none.
func check(t *testing.T, l blob.Large, id mail.ID, body []byte) {
	t.Helper()
	o, err := l.Open(t.Context(), id)
	if body == nil {
		if !mail.Is(err, mail.NotFound) {
			t.Errorf("a missing object gives %v", err)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer o.Close()
	if o.Size() != int64(len(body)) {
		t.Errorf("size %d, want %d", o.Size(), len(body))
	}
	for _, r := range [][2]int{{0, len(body)}, {len(body) / 2, 10}, {max(0, len(body)-1), 1}} {
		got := make([]byte, min(r[1], len(body)-r[0]))
		if n, err := o.ReadAt(got, int64(r[0])); n != len(got) || err != nil && err != io.EOF {
			t.Errorf("read %v: %d, %v", r, n, err)
		}
		if !bytes.Equal(got, body[r[0]:r[0]+len(got)]) {
			t.Errorf("read %v: other octets", r)
		}
	}
	if n, err := o.ReadAt(make([]byte, 1), o.Size()); n != 0 || err == nil {
		t.Errorf("read behind the end: %d, %v", n, err)
	}
}

func testReadBack(t *testing.T, l *backend) {
	for _, n := range []int{0, 1, 999, 1000, 300_000} {
		id := l.ids.New(time.Now())
		body := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		put(t, l, id, body)
		check(t, l, id, body)
	}
}

func testUnseen(t *testing.T, l *backend) {
	id := l.ids.New(time.Now())
	w, err := l.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("part")); err != nil {
		t.Fatal(err)
	}
	check(t, l, id, nil)
	for range l.List(t.Context()) {
		t.Error("an unfinished object is listed")
	}
	w.Abort()
	w.Abort()
	check(t, l, id, nil)
}

func testRemove(t *testing.T, l *backend) {
	id, body := l.ids.New(time.Now()), []byte("body")
	put(t, l, id, body)
	o, err := l.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for range 2 {
		if err := l.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	check(t, l, id, nil)
	got := make([]byte, len(body))
	if _, err := o.ReadAt(got, 0); err != nil && err != io.EOF || !bytes.Equal(got, body) {
		t.Errorf("who had it open reads %q, %v", got, err)
	}
}

func testList(t *testing.T, l *backend) {
	want := map[mail.ID]int64{}
	start := time.Now().Add(-time.Minute)
	for i := range 20 { // over months, as ids tell it
		id := l.ids.New(time.Now().AddDate(0, i, 0))
		want[id] = int64(i + 1)
		put(t, l, id, make([]byte, i+1))
	}
	got := map[mail.ID]int64{}
	for info, err := range l.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Changed.Before(start) || info.Changed.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s was changed at %v", info.ID, info.Changed)
		}
		got[info.ID] = info.Size
	}
	if !maps.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for range l.List(t.Context()) {
		break // leaving early is no error
	}
	ended, end := context.WithCancel(t.Context())
	end()
	for _, err := range l.List(ended) {
		if !mail.Is(err, mail.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

func testParallel(t *testing.T, l *backend) {
	// One stays: versitygw removes a directory that became empty while another object is just put there, and refuses that.
	put(t, l, l.ids.New(time.Now()), []byte("stays"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				id, body := l.ids.New(time.Now()), []byte(fmt.Sprint(i, j))
				put(t, l, id, body)
				check(t, l, id, body)
				if err := l.Remove(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
