package imap

import (
	"io"
	"sync"
)

// inputSize is what one read may bring; the buffer is lent from a pool and given back when it is empty, so that
// a session that waits holds only the first few octets of its next command.
const inputSize = 4096

var inputPool = sync.Pool{New: func() any { return new([inputSize]byte) }}

// input is a buffered reader whose buffer goes back to the pool when nothing is left in it.
type input struct {
	src   io.Reader
	small [64]byte
	lent  *[inputSize]byte
	buf   []byte // unread octets, in small or lent
}

// await blocks until an octet can be read, into the small buffer. It can be called again after a timeout.
func (in *input) await() error {
	if len(in.buf) > 0 {
		return nil
	}
	in.release()
	return in.read(in.small[:])
}

// fill brings at least one octet more when none is unread.
func (in *input) fill() error {
	if len(in.buf) > 0 {
		return nil
	}
	if in.lent == nil {
		in.lent = inputPool.Get().(*[inputSize]byte)
	}
	return in.read(in.lent[:])
}

func (in *input) read(into []byte) error {
	for range 100 {
		n, err := in.src.Read(into)
		if n > 0 {
			in.buf = into[:n]
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// release gives the lent buffer back; nothing may be unread.
func (in *input) release() {
	if in.lent != nil && len(in.buf) == 0 {
		inputPool.Put(in.lent)
		in.lent, in.buf = nil, nil
	}
}

// Read makes input an io.Reader; large reads go past the buffer.
func (in *input) Read(p []byte) (int, error) {
	if len(in.buf) == 0 {
		if len(p) >= inputSize {
			return in.src.Read(p)
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf)
	in.buf = in.buf[n:]
	return n, nil
}
