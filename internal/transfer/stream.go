package transfer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"postel/internal/mail"
)

// Limits of the stream.
const (
	maxMeta  = 64 << 10 // octets of a line of JSON
	maxChunk = 1 << 20
)

// Writer writes the stream.
type Writer struct {
	w   *bufio.Writer
	err error
}

// NewWriter gives a Writer; Flush ends it.
func NewWriter(w io.Writer) *Writer { return &Writer{w: bufio.NewWriterSize(w, 64<<10)} }

// Put writes one message: m, and what r gives. An error of reading is told in the stream, one of writing is returned.
func (w *Writer) Put(m Meta, r io.Reader) error {
	w.line(m)
	problem := ""
	if r != nil {
		buf := make([]byte, 64<<10)
		for w.err == nil {
			n, err := r.Read(buf)
			w.chunk(buf[:n])
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				problem = err.Error()
				break
			}
		}
	}
	w.raw(binary.BigEndian.AppendUint32(nil, 0))
	w.line(trailer{problem})
	return w.err
}

type trailer struct {
	Problem string `json:"problem,omitempty"`
}

func (w *Writer) chunk(p []byte) {
	if len(p) > 0 {
		w.raw(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		w.raw(p)
	}
}

func (w *Writer) line(v any) {
	b, err := json.Marshal(v)
	if err == nil && len(b) >= maxMeta {
		err = mail.E("transfer.write", mail.TooLarge, "more is told of a message than the stream takes")
	}
	if err != nil && w.err == nil {
		w.err = err
	}
	w.raw(append(b, '\n'))
}

func (w *Writer) raw(p []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(p)
	}
}

// Flush writes what is still held.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

// Reader reads the stream: Next, then Read to the end of that message's content.
type Reader struct {
	r    *bufio.Reader
	left int  // octets of the chunk
	open bool // the content has not ended
	err  error
}

// NewReader gives a Reader.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, maxMeta)} }

// Next gives the next message, io.EOF behind the last; what was not read of the one before is skipped. Kind Invalid
// for what is no stream, io.ErrUnexpectedEOF where it was cut off.
func (r *Reader) Next() (Meta, error) {
	if r.open {
		if _, err := io.Copy(io.Discard, r); err != nil && !mail.Is(err, mail.Rejected) {
			return Meta{}, err
		}
	}
	var m Meta
	if _, err := r.r.Peek(1); errors.Is(err, io.EOF) {
		return m, io.EOF
	}
	if err := r.line(&m); err != nil {
		return m, err
	}
	r.open, r.left, r.err = true, 0, nil
	return m, nil
}

// Read reads the content. An error with Kind Rejected says that the source could not give it whole.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err == nil && r.left == 0 {
		r.err = r.begin()
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	r.err = err
	return n, err
}

// begin reads the length of the next chunk, or the trailer.
func (r *Reader) begin() error {
	var b [4]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	n := binary.BigEndian.Uint32(b[:])
	if n > maxChunk {
		return mail.E("transfer.read", mail.Invalid, "a piece of more than %d octets", maxChunk)
	}
	if r.left = int(n); n > 0 {
		return nil
	}
	r.open = false
	var t trailer
	if err := r.line(&t); err != nil {
		return err
	}
	if t.Problem != "" {
		return mail.E("transfer.read", mail.Rejected, "%s", t.Problem)
	}
	return io.EOF
}

func (r *Reader) line(v any) error {
	b, err := r.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return mail.E("transfer.read", mail.Invalid, "a line of more than %d octets", maxMeta)
	}
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(b, v); err != nil {
		return mail.E("transfer.read", mail.Invalid, "not the stream of a transfer: %v", err)
	}
	return nil
}
