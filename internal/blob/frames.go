package blob

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"
)

const (
	frameSize    = 256 << 10
	indexEntry   = 12
	trailerSize  = 24
	objectMagic  = "PBLOB\r\n\x01"
	zstdBit      = 1 << 31
	maxFrames    = 1 << 20 // 256 GiB
	rawAfterFail = 8       // frames not tried after one that did not compress
)

// frameWriter writes an object to out, a frame at a time.
type frameWriter struct {
	s      *Store
	out    io.Writer
	buf    []byte // plain octets of the frame to come
	stored []byte
	index  []byte
	length int64
	skip   int // frames still to be written without trying to compress
}

func newFrameWriter(s *Store, out io.Writer) *frameWriter {
	return &frameWriter{s: s, out: out, buf: s.buffers.get(true), stored: s.buffers.get(true)}
}

func (f *frameWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), frameSize-len(f.buf))
		f.buf = append(f.buf, p[:k]...)
		p = p[k:]
		if len(f.buf) == frameSize {
			if err := f.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// flush writes one frame.
func (f *frameWriter) flush() error {
	if len(f.index) == maxFrames*indexEntry {
		return errors.New("too many frames")
	}
	f.length += int64(len(f.buf))
	digest := xxhash.Sum64(f.buf) // before writing: a vfs.File may change what it is given
	out, flag := f.buf, uint32(0)
	if f.skip > 0 {
		f.skip--
	} else if z, ok := f.s.codec.compress(f.stored[:0], f.buf); ok {
		f.stored, out, flag = z, z, zstdBit
	} else {
		f.skip = rawAfterFail
	}
	f.index = binary.BigEndian.AppendUint32(f.index, uint32(len(out))|flag)
	f.index = binary.BigEndian.AppendUint64(f.index, digest)
	_, err := f.out.Write(out)
	f.buf = f.buf[:0]
	return err
}

// finish writes what is left, the index and the trailer, and gives their digest.
func (f *frameWriter) finish() (digest uint64, err error) {
	if len(f.buf) > 0 {
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	tail := binary.BigEndian.AppendUint64(f.index, uint64(f.length))
	tail = binary.BigEndian.AppendUint32(tail, frameSize)
	tail = binary.BigEndian.AppendUint32(tail, uint32(len(f.index)/indexEntry))
	tail = append(tail, objectMagic...)
	digest = xxhash.Sum64(tail)
	_, err = f.out.Write(tail)
	return digest, err
}

// free gives the memory back.
func (f *frameWriter) free() {
	f.s.buffers.put(f.buf)
	f.s.buffers.put(f.stored)
	f.buf, f.stored, f.index = nil, nil, nil
}

// frameIndex is where the frames of an object lie.
type frameIndex struct {
	length int64
	ends   []int64 // of the stored frames
	tail   []byte  // the index
}

var errIndex = errors.New("index does not match")

// readIndex reads and verifies the end of an object.
func readIndex(r io.ReaderAt, size int64, want row) (*frameIndex, error) {
	frames := (want.length + frameSize - 1) / frameSize
	tail := frames*indexEntry + trailerSize
	if frames > maxFrames || tail > size {
		return nil, errIndex
	}
	b := make([]byte, tail)
	if _, err := r.ReadAt(b, size-tail); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if xxhash.Sum64(b) != want.digest || string(b[tail-8:]) != objectMagic {
		return nil, errIndex
	}
	x := &frameIndex{length: want.length, tail: b, ends: make([]int64, frames)}
	var end int64
	for i := range x.ends {
		end += int64(binary.BigEndian.Uint32(b[i*indexEntry:]) &^ zstdBit)
		x.ends[i] = end
	}
	if end != size-tail || int64(binary.BigEndian.Uint64(b[tail-trailerSize:])) != want.length {
		return nil, errIndex
	}
	return x, nil
}

// frame tells of frame i where it is stored, whether in zstd, how long it is and its digest.
func (x *frameIndex) frame(i int) (off, n int64, compressed bool, plain int, digest uint64) {
	if i > 0 {
		off = x.ends[i-1]
	}
	e := x.tail[i*indexEntry:]
	n = x.ends[i] - off
	compressed = binary.BigEndian.Uint32(e)&zstdBit != 0
	plain = int(min(frameSize, x.length-int64(i)*frameSize))
	return off, n, compressed, plain, binary.BigEndian.Uint64(e[4:])
}
