package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
)

// spoolMemory is how much of a message is held in memory; more goes to a temporary file.
const spoolMemory = 1 << 20

// spool holds the content of one message to be read more than once. Reset makes it empty again.
type spool struct {
	mem  bytes.Buffer
	file *os.File
	size int64
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.mem.Len()+len(p) > spoolMemory {
		f, err := os.CreateTemp("", "postel-transfer-")
		if err != nil {
			return 0, err
		}
		_ = os.Remove(f.Name()) // it lives as long as it is open
		s.file = f
		if _, err := f.Write(s.mem.Bytes()); err != nil {
			return 0, err
		}
		s.mem = bytes.Buffer{}
	}
	s.size += int64(len(p))
	if s.file != nil {
		return s.file.Write(p)
	}
	return s.mem.Write(p)
}

// fill takes the content that open gives in place of what was there, and tells the digest of it.
func (s *spool) fill(open func() (io.ReadCloser, error)) (sum string, err error) {
	if err := s.reset(); err != nil {
		return "", err
	}
	r, err := open()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(s, h), r)
	if err := errors.Join(err, r.Close()); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// open reads what was written, from the beginning.
func (s *spool) open() (io.ReadCloser, error) {
	if s.file != nil {
		return io.NopCloser(io.NewSectionReader(s.file, 0, s.size)), nil
	}
	return io.NopCloser(bytes.NewReader(s.mem.Bytes())), nil
}

func (s *spool) reset() error {
	var err error
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	s.mem.Reset()
	s.size = 0
	return err
}

// errTooLarge ends the reading of a message beyond the limit.
var errTooLarge = errors.New("the message is larger than what can be imported")
