package blob

import (
	"errors"
	"math"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"postel/internal/kv"
)

// codec compresses whole pieces. Encoders and decoders are shared, at most one a core, each working in the
// caller's goroutine; they are made at first use.
type codec struct {
	limit   int
	encoder func() *zstd.Encoder
	decoder func() *zstd.Decoder
}

// newCodec gives a codec that compresses pieces of at most limit octets. It decompresses whatever a row can hold,
// because the limit may have been another one when the row was written.
func newCodec(concurrency, limit int) *codec {
	const largest = kv.MaxTxnBytes
	return &codec{
		limit: largest,
		encoder: sync.OnceValue(func() *zstd.Encoder {
			e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
				zstd.WithEncoderConcurrency(concurrency), zstd.WithWindowSize(window(limit)))
			return must(e, err)
		}),
		decoder: sync.OnceValue(func() *zstd.Decoder {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(concurrency), zstd.WithDecodeAllCapLimit(true),
				zstd.WithDecoderMaxMemory(largest), zstd.WithDecoderLowmem(true))
			return must(d, err)
		}),
	}
}

// window gives the power of two that holds limit octets.
func window(limit int) int {
	w := zstd.MinWindowSize
	for w < limit && w < zstd.MaxWindowSize {
		w <<= 1
	}
	return w
}

// must is for constructors that fail only for options out of range, which ours are not.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// quickMax is the largest body that is kept in S2 instead of zstd. Of a small body most of zstd's time goes into
// tables: S2 packs 5 KB in a third of the time and unpacks them in a fifth, and takes a quarter to a third more room
// (BenchmarkSmall); its better level takes 4 % less room and half as long again. Large bodies are mostly base64, of which S2 saves nothing.
const quickMax = 16 << 10

// compressInline appends a body to dst in the form that suits it; ok as in compress.
func (c *codec) compressInline(dst, plain []byte) (_ []byte, f form, ok bool) {
	if len(plain) > quickMax {
		dst, ok = c.compress(dst, plain)
		return dst, inlineZstd, ok
	}
	have, room := len(dst), s2.MaxEncodedLen(len(plain))
	if cap(dst)-have < room {
		dst = append(make([]byte, 0, have+room), dst...)
	}
	out := s2.Encode(dst[have:have+room], plain)
	if len(out) > len(plain)-len(plain)/16 {
		return dst, inlineRaw, false
	}
	return dst[:have+len(out)], inlineS2, true
}

// unpackS2 appends exactly n octets to dst from what S2 packed.
func (c *codec) unpackS2(dst, stored []byte, n int) ([]byte, error) {
	if m, err := s2.DecodedLen(stored); err != nil || m != n || n > quickMax {
		return dst, errLength
	}
	have := len(dst)
	if cap(dst)-have < n {
		dst = append(make([]byte, 0, have+n), dst...)
	}
	if _, err := s2.Decode(dst[have:have+n], stored); err != nil {
		return dst, err
	}
	return dst[:have+n], nil
}

// compress appends plain to dst in zstd; ok tells that this saves a sixteenth at least. When not, dst is unchanged.
func (c *codec) compress(dst, plain []byte) (_ []byte, ok bool) {
	if len(plain) == 0 || dense(plain) {
		return dst, false
	}
	out := c.encoder().EncodeAll(plain, dst)
	if len(out)-len(dst) > len(plain)-len(plain)/16 {
		return dst, false
	}
	return out, true
}

var errLength = errors.New("length differs")

// decompress appends exactly n octets to dst from stored.
func (c *codec) decompress(dst, stored []byte, n int) ([]byte, error) {
	if n < 0 || n > c.limit {
		return dst, errLength
	}
	have := len(dst)
	if cap(dst)-have < n {
		dst = append(make([]byte, 0, have+n), dst...)
	}
	out, err := c.decoder().DecodeAll(stored, dst[:have:have+n]) // never more than this capacity
	if err == nil && len(out) != have+n {
		err = errLength
	}
	if err != nil {
		return dst, err
	}
	return dst[:have+n], nil // with its whole capacity, so that the buffer can be used again
}

const (
	samplePieces = 4
	sampleOctets = 1 << 10
	denseBits    = 7.7 // random octets of the sample's size show 7.95
)

// dense tells by a sample that data is compressed or encrypted already, so that trying would be in vain. Base64
// has 6 bits an octet and is not dense.
func dense(data []byte) bool {
	if len(data) < samplePieces*sampleOctets {
		return false
	}
	var count [256]int32
	step := (len(data) - sampleOctets) / (samplePieces - 1)
	for i := range samplePieces {
		for _, c := range data[i*step : i*step+sampleOctets] {
			count[c]++
		}
	}
	const total = samplePieces * sampleOctets
	var sum float64
	for _, n := range count {
		if n > 0 {
			sum += float64(n) * math.Log2(float64(n))
		}
	}
	return math.Log2(total)-sum/total > denseBits
}

// buffers recycles memory, so that a stream of messages allocates little.
type buffers struct{ small, frame sync.Pool }

const (
	minPooled = 8 << 10
	maxPooled = frameSize + frameSize/8 // with room for what does not compress
)

// get gives an empty buffer; with room for a frame, or small and growing.
func (b *buffers) get(frame bool) []byte {
	p, size := &b.small, minPooled
	if frame {
		p, size = &b.frame, maxPooled
	}
	if v, ok := p.Get().(*[]byte); ok {
		return (*v)[:0]
	}
	return make([]byte, 0, size)
}

// put takes a buffer back; the caller must not use it again.
func (b *buffers) put(v []byte) {
	switch {
	case cap(v) < minPooled || cap(v) > 2*maxPooled:
	case cap(v) >= maxPooled:
		b.frame.Put(&v)
	default:
		b.small.Put(&v)
	}
}
