package tool

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCRLF(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for in, want := range map[string]string{
		"": "", "a": "a\r\n", "a\n": "a\r\n", "a\r\n\r\nb": "a\r\n\r\nb\r\n", "\n\n": "\r\n\r\n", "a\rb\n": "ab\r\n", long: long + "\r\n", long + "\n": long + "\r\n",
	} {
		got, err := io.ReadAll(iotest.OneByteReader(CRLF(strings.NewReader(in))))
		if err != nil || string(got) != want {
			t.Errorf("%.20q: %.40q, %v", in, got, err)
		}
	}
}
