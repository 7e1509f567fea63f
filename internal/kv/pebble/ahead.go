package pebble

import (
	"strings"

	"postel/internal/vfs"
)

// aheadStep is how much of a new log is filled at once.
const aheadStep = 256 << 10

// ahead fills a new log with zeros before its records come. A sync that makes a file longer, or writes to a block of it for the
// first time, has the file system write its own log too; behind the zeros it only writes the record. A log that is used again
// needs none, and has none. The engine reads a log as far as its records go, and knows zeros as the end.
type ahead struct {
	file          vfs.File
	room          func(n int64) error // says whether the disk has n octets to spare
	written, zero int64               // as far as the file has records, and as far as it has anything
	off           bool
}

// newAhead fills the file name that was just created; nil: it is no log.
func newAhead(f vfs.File, name string, room func(n int64) error) *ahead {
	if !strings.HasSuffix(name, ".log") {
		return nil
	}
	return &ahead{file: f, room: room}
}

// before makes ready for a write of n octets. Nothing depends on it: what fails is left.
func (a *ahead) before(n int) {
	if a == nil || a.off {
		return
	}
	end := a.written + int64(n)
	for a.zero < end {
		if a.off = a.room(aheadStep) != nil; a.off {
			return
		}
		_, err := a.file.WriteAt(make([]byte, aheadStep), a.zero) // a file may change what it is given
		if a.off = err != nil; a.off {
			return
		}
		a.zero += aheadStep
	}
}

// after notes that n octets were written.
func (a *ahead) after(n int) {
	if a != nil {
		a.written += int64(n)
	}
}
