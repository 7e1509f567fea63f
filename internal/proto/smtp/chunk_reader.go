package smtp

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// Chunk is the argument of BDAT (RFC 3030 §2).
type Chunk struct {
	Size int64 // octets that stand behind the command's line; -1: nobody knows how many
	Last bool
}

// ParseChunk reads "chunk-size [LAST]". What comes with an error still says the size, if that can be known: the octets
// are there, whatever else is wrong.
func ParseChunk(rest string) (Chunk, error) {
	digits, marker, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(digits, 10, 63)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return Chunk{Size: -1}, Fail(552, mail.TooLarge, mail.Enhanced{5, 3, 4}, "chunk too large")
	case err != nil:
		return Chunk{Size: -1}, argError("BDAT octets [LAST]")
	}
	marker = strings.TrimSpace(marker)
	c := Chunk{Size: int64(n), Last: strings.EqualFold(marker, "LAST")}
	if marker != "" && !c.Last {
		return c, argError("BDAT octets [LAST]")
	}
	return c, nil
}

// ChunkReader is the content that comes by BDAT, one stream over all chunks (RFC 3030 §2). Unless it is binary it obeys
// the rules of DataReader on size and line ends, across the seams of chunks too, and gets a CRLF at its end if there is
// none. Read gives a bad message's error at once: the rest of its chunk is there for Skip. Not safe for concurrent use.
type ChunkReader struct {
	content
	r      *bufio.Reader
	binary bool
	chunk  Chunk // Size is what is left of it
	more   func() (Chunk, error)
	whole  bool  // what was given is empty or ends with CRLF
	final  error // io.EOF at the end of the last chunk, or why there is no more
	lost   bool
}

// NewChunkReader reads a message of at most limit octets from r, beginning with the octets of the first chunk. more is
// called when all octets of a chunk that is not the last have been given: it answers it and gets the next. Its error is
// the end of the stream.
func NewChunkReader(r *bufio.Reader, limit int64, bare BareLF, binary bool, first Chunk, more func() (Chunk, error)) *ChunkReader {
	c := &ChunkReader{content: newContent(limit, bare), r: r, binary: binary, more: more, whole: true}
	c.begin(first)
	return c
}

// begin takes a chunk as the one to be read. One that is too large is not read at all.
func (c *ChunkReader) begin(next Chunk) {
	c.chunk = next
	if next.Size > c.limit-c.size {
		c.tooLarge()
	}
}

// Last tells whether the chunk that is being read, or was read last, says LAST.
func (c *ChunkReader) Last() bool { return c.chunk.Last }

// Lost tells that the connection is out of step, so that it has to be closed.
func (c *ChunkReader) Lost() bool { return c.lost }

// Read gives content.
func (c *ChunkReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		switch {
		case c.bad != nil:
			return 0, c.bad
		case c.pend != "":
			k := copy(p[n:], c.pend)
			n, c.pend = n+k, c.pend[k:]
		case n > 0 && (c.chunk.Size == 0 || c.r.Buffered() == 0):
			return n, nil // what is here is better than waiting for more
		case c.final != nil:
			return 0, c.final
		case c.chunk.Size > 0:
			n += copy(p[n:], c.next(len(p)-n))
		default:
			c.seam()
		}
	}
	return n, nil
}

// next takes a run of at most limit octets of content from the chunk; it is valid until the next call. It may be empty.
func (c *ChunkReader) next(limit int) []byte {
	if _, err := c.r.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		c.final, c.lost = err, true
		return nil
	}
	run, _ := c.r.Peek(int(min(int64(c.r.Buffered()), int64(limit), c.chunk.Size)))
	n, bareLF := len(run), false
	if !c.binary {
		n, bareLF = c.scan(run)
		c.whole = c.bol || bareLF
	}
	wire := c.took(n, bareLF)
	_, _ = c.r.Discard(wire) // it is buffered: nothing is read, run stays
	c.chunk.Size -= int64(wire)
	return run[:n]
}

// seam goes on to the next chunk, or ends the message behind the last.
func (c *ChunkReader) seam() {
	switch {
	case !c.chunk.Last:
		next, err := c.more()
		switch {
		case errors.Is(err, io.EOF): // the end of the connection is none of the message
			c.final = io.ErrUnexpectedEOF
			return
		case err != nil:
			c.final = err
			return
		}
		c.begin(next)
	case !c.binary && c.cr:
		c.reject("bare CR in the message: lines end with CRLF")
	case !c.binary && !c.whole:
		c.pend, c.whole = "\r\n", true
		c.count(2)
	default:
		c.final = io.EOF
	}
}

// Drain takes in the rest of the message unseen, up to its last chunk: nil when it was in order, else what Read would say.
func (c *ChunkReader) Drain() error {
	_, err := io.Copy(io.Discard, c)
	return err
}

// Skip takes in the rest of the chunk, of a message that is refused. A chunk far beyond the limit is not worth it: the
// connection is then Lost. Its error is the connection's.
func (c *ChunkReader) Skip() error {
	if c.lost {
		return c.final
	}
	if c.chunk.Size > c.limit+MaxJunk {
		c.lost = true
		return nil
	}
	n, err := io.CopyN(io.Discard, c.r, c.chunk.Size)
	if c.chunk.Size -= n; err != nil {
		c.final, c.lost = err, true
	}
	return err
}
