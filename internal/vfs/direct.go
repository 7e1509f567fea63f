package vfs

import (
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

const (
	// directSize is what goes to the disk at once: much, for each write waits for the disk.
	directSize = 1 << 20
	// directAlign suits the blocks of all disks and file systems.
	directAlign = 4096
	// directWriters bounds the memory: as many buffers there are at most.
	directWriters = 16
)

// Direct writes long files past the page cache (O_DIRECT), where the system and the file system can do that: a large body
// that is written once, and read once if ever, neither costs the processor two copies and the making of pages, nor
// pushes from memory what is read often. The zero value is ready.
type Direct struct {
	pool  sync.Pool // of *[]byte
	given atomic.Int32
}

// Writer gives a writer to the end of f, which nobody else may write or sync before its Finish. Until then nothing that was
// written need be in the file. It is buffered by a MiB; a short file goes through the page cache.
func (d *Direct) Writer(f File) *DirectWriter { return &DirectWriter{d: d, f: f} }

// DirectWriter is a file that is being written. Not safe for concurrent use.
type DirectWriter struct {
	d      *Direct
	f      File
	buf    []byte // nil: none was asked for, or there was none
	plain  bool   // goes through the page cache
	direct bool   // the file has O_DIRECT
}

// Write takes more of the file; p is unchanged.
func (w *DirectWriter) Write(p []byte) (int, error) {
	if w.buf == nil && !w.plain {
		w.buf = w.d.get(w.f)
		w.plain = w.buf == nil
	}
	if w.plain {
		return w.f.Write(p)
	}
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), directSize-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
		if len(w.buf) == directSize {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush writes a full buffer.
func (w *DirectWriter) flush() error {
	if !w.direct {
		w.direct = setDirect(w.f, true)
		w.plain = !w.direct
	}
	n, err := w.f.Write(w.buf)
	// The disk has other blocks than ours, or wrote a part that ends within one.
	if w.direct && errors.Is(err, syscall.EINVAL) && setDirect(w.f, false) {
		w.direct, w.plain = false, true
		_, err = w.f.Write(w.buf[n:])
	}
	w.buf = w.buf[:0]
	if w.plain {
		w.release()
	}
	return err
}

// Finish writes what is left, which goes through the page cache: it is no whole number of blocks. It does not sync.
func (w *DirectWriter) Finish() error {
	defer w.release()
	if len(w.buf) == 0 {
		return nil
	}
	if w.direct && !setDirect(w.f, false) {
		return errNotCleared
	}
	w.direct, w.plain = false, true
	_, err := w.f.Write(w.buf)
	return err
}

// Abort gives the memory back without writing. Calling it again, or after Finish, does nothing.
func (w *DirectWriter) Abort() { w.release() }

func (w *DirectWriter) release() {
	if w.buf != nil {
		w.d.put(w.buf)
		w.buf = nil
	}
	w.plain = true
}

// get gives a buffer that f can be written from directly; nil when there is none to be had, or no file of the system below f.
func (d *Direct) get(f File) []byte {
	if !canDirect(f) {
		return nil
	}
	if d.given.Add(1) > directWriters {
		d.given.Add(-1)
		return nil
	}
	if b, ok := d.pool.Get().(*[]byte); ok {
		return *b
	}
	b := make([]byte, directSize+directAlign)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (directAlign - 1) //nolint:gosec // only an address
	return b[skip : skip : skip+directSize]
}

func (d *Direct) put(b []byte) {
	b = b[:0]
	d.pool.Put(&b)
	d.given.Add(-1)
}
