package queue

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"

	"postel/internal/vfs"
)

// Sending is a file of this process's own in which stands what is being sent, so that after a kill the next process can
// name what may arrive twice: the octets went, and what the other server said was not recorded. Each note is one write
// without a sync: it outlives the process, and not always the machine. What is right or lost does not depend on it.
//
//	0   "postel sending1\n"
//	16  number u64, partition u16, 0 u16, CRC-32 of these 12 octets u32; all zero: a free place
//	32  …
//
// Safe for concurrent use; a nil Sending notes nothing.
type Sending struct {
	mu     sync.Mutex
	file   vfs.File
	places map[uint64]int64 // of items, by number
	free   []int64
	end    int64
	left   []ID
	broken bool // a write failed: nothing is noted behind it
	failed func(error)
}

const (
	sendingMagic = "postel sending1\n"
	sendingSize  = int64(len(sendingMagic)) // of the magic, and of a place
	maxSending   = 1 << 20                  // octets: so many sessions nobody has
)

// OpenSending reads what the process before left in the file, and begins a new one that has the same. failed is told once,
// when a write fails.
func OpenSending(fs vfs.FS, path string, failed func(error)) (*Sending, error) {
	old, err := vfs.ReadFile(fs, path, maxSending)
	if err != nil && !vfs.IsNotExist(err) {
		return nil, err
	}
	s := &Sending{places: map[uint64]int64{}, end: sendingSize, left: parseSending(old), failed: failed}
	temp := path + ".tmp"
	if s.file, err = vfs.Create(fs, temp); err != nil {
		return nil, err
	}
	_, err = s.file.WriteAt([]byte(sendingMagic), 0)
	for _, id := range s.left {
		s.Begin(id)
	}
	if err == nil && !s.broken {
		err = fs.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

// parseSending gives the items that a file names; what is torn is passed over.
func parseSending(b []byte) (left []ID) {
	if int64(len(b)) < sendingSize || string(b[:sendingSize]) != sendingMagic {
		return nil
	}
	seen := map[uint64]bool{}
	for b = b[sendingSize:]; int64(len(b)) >= sendingSize; b = b[sendingSize:] {
		id := ID{Number: binary.BigEndian.Uint64(b), Partition: binary.BigEndian.Uint16(b[8:])}
		if crc32.ChecksumIEEE(b[:12]) != binary.BigEndian.Uint32(b[12:]) || id.Partition >= partitions || seen[id.Number] {
			continue // the checksum of a free place is not zero
		}
		seen[id.Number] = true
		left = append(left, id)
	}
	return left
}

// Left gives the items that the process before was sending. Each stands in the file until End.
func (s *Sending) Left() []ID {
	if s == nil {
		return nil
	}
	return s.left
}

// Begin notes that an item is about to be sent. Noting it again is nothing.
func (s *Sending) Begin(id ID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, noted := s.places[id.Number]; noted {
		return
	}
	at := s.end
	switch n := len(s.free); {
	case n > 0:
		at, s.free = s.free[n-1], s.free[:n-1]
	case s.end+sendingSize > maxSending:
		return
	default:
		s.end += sendingSize
	}
	s.places[id.Number] = at
	var b [sendingSize]byte
	binary.BigEndian.PutUint64(b[:], id.Number)
	binary.BigEndian.PutUint16(b[8:], id.Partition)
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[:12]))
	s.write(b, at)
}

// End says that what came of an item is on record.
func (s *Sending) End(id ID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, noted := s.places[id.Number]
	if !noted {
		return
	}
	delete(s.places, id.Number)
	s.free = append(s.free, at)
	s.write([sendingSize]byte{}, at)
}

// write fills a place. Under the lock.
func (s *Sending) write(b [sendingSize]byte, at int64) {
	if s.broken {
		return
	}
	if _, err := s.file.WriteAt(b[:], at); err != nil {
		s.broken = true
		s.failed(err)
	}
}

// Close closes the file, and leaves it with what was not ended.
func (s *Sending) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	return s.file.Close()
}
