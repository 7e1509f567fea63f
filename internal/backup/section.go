package backup

import (
	"encoding/binary"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"postel/internal/mail"
)

const (
	mark       = "\xffPBK\r\n\x1a\x01"
	headerSize = 8 + 1 + 1 + 8 + 8 + 8 + 4 + 4 + 4 + 8 + 8
	maxPlain   = 32 << 20 // ten thousand mailboxes with long names; messages come in parts of bodyPart
	bodyPart   = 256 << 10
)

// The types of sections.
const (
	secHead      = 'H'
	secDirectory = 'D'
	secAccount   = 'A'
	secRows      = 'R'
	secEntries   = 'E'
	secMessage   = 'M'
	secBody      = 'B'
	secAccounted = 'Z'
	secQueue     = 'Q'
	secEnd       = 'X'
)

// header is what precedes a section's payload.
type header struct {
	kind    byte
	packed  bool
	number  uint64
	account mail.AccountID
	id      uint64
	part    uint32
	plain   uint32
	stored  uint32
	digest  uint64
}

func (h *header) encode() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, mark...)
	b = append(b, h.kind, 0)
	if h.packed {
		b[9] = 1
	}
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = binary.BigEndian.AppendUint64(b, uint64(h.account))
	b = binary.BigEndian.AppendUint64(b, h.id)
	b = binary.BigEndian.AppendUint32(b, h.part)
	b = binary.BigEndian.AppendUint32(b, h.plain)
	b = binary.BigEndian.AppendUint32(b, h.stored)
	b = binary.BigEndian.AppendUint64(b, h.digest)
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// parseHeader reads a header; false when it is none, or damaged.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerSize || string(b[:8]) != mark || xxhash.Sum64(b[:headerSize-8]) != binary.BigEndian.Uint64(b[headerSize-8:]) {
		return h, false
	}
	h = header{
		kind: b[8], packed: b[9] == 1, number: binary.BigEndian.Uint64(b[10:]), account: mail.AccountID(binary.BigEndian.Uint64(b[18:])),
		id: binary.BigEndian.Uint64(b[26:]), part: binary.BigEndian.Uint32(b[34:]), plain: binary.BigEndian.Uint32(b[38:]),
		stored: binary.BigEndian.Uint32(b[42:]), digest: binary.BigEndian.Uint64(b[46:]),
	}
	return h, h.plain <= maxPlain && h.stored <= maxPlain && b[9] <= 1
}

func damaged(what string) error {
	return mail.E("backup.read", mail.Rejected, "the archive is damaged: %s", what)
}

// codec packs and unpacks payloads. Not safe for concurrent use.
type codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() (*codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, mail.Wrap("backup.codec", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, mail.Wrap("backup.codec", err)
	}
	return &codec{enc, dec}, nil
}

func (c *codec) close() {
	c.dec.Close()
	_ = c.enc.Close() // nothing is under way
}

// open checks a payload and unpacks it.
func (c *codec) open(h *header, stored []byte) ([]byte, error) {
	if uint32(len(stored)) != h.stored || xxhash.Sum64(stored) != h.digest {
		return nil, damaged("a section does not match its digest")
	}
	if !h.packed {
		return stored, nil
	}
	b, err := c.dec.DecodeAll(stored, make([]byte, 0, h.plain))
	if err != nil || uint32(len(b)) != h.plain {
		return nil, damaged("a section cannot be unpacked")
	}
	return b, nil
}

// sections writes sections.
type sections struct {
	w       io.Writer
	c       *codec
	next    uint64
	account mail.AccountID
	octets  int64
}

func (s *sections) write(kind byte, id uint64, part uint32, payload []byte) error {
	if len(payload) > maxPlain {
		return mail.E("backup.write", mail.TooLarge, "a section of %d octets", len(payload))
	}
	h := header{kind: kind, number: s.next, account: s.account, id: id, part: part, plain: uint32(len(payload))}
	if len(payload) > 64 {
		if z := s.c.enc.EncodeAll(payload, nil); len(z) < len(payload) {
			payload, h.packed = z, true
		}
	}
	h.stored, h.digest = uint32(len(payload)), xxhash.Sum64(payload)
	s.next++
	for _, b := range [][]byte{h.encode(), payload} {
		n, err := s.w.Write(b)
		if s.octets += int64(n); err != nil {
			return &mail.Error{Op: "backup.write", Kind: mail.Unavailable, Text: "the archive cannot be written", Err: err}
		}
	}
	return nil
}

// stream reads sections one after another, as they come over a connection. Damage ends it.
type stream struct {
	r    io.Reader
	c    *codec
	next uint64
	head [headerSize]byte
	buf  []byte
}

// read gives the next section; the payload is good until the next call. io.EOF at the end.
func (s *stream) read() (header, []byte, error) {
	n, err := io.ReadFull(s.r, s.head[:])
	if n == 0 && err == io.EOF { //nolint:errorlint // ReadFull gives it as it is
		return header{}, nil, io.EOF
	}
	h, ok := parseHeader(s.head[:n])
	if err != nil || !ok || h.number != s.next {
		return h, nil, damaged("it ends or breaks off within")
	}
	s.next++
	if cap(s.buf) < int(h.stored) {
		s.buf = make([]byte, h.stored)
	}
	s.buf = s.buf[:h.stored]
	if _, err := io.ReadFull(s.r, s.buf); err != nil {
		return h, nil, damaged("it ends within a section")
	}
	b, err := s.c.open(&h, s.buf)
	return h, b, err
}
