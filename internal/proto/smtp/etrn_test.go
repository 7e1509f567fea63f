package smtp

import (
	"strings"
	"testing"

	"postel/internal/mail"
)

func TestParseETRN(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Node{
		"Example.ORG":  {0, "example.org"},
		"@example.org": {'@', "example.org"},
		"#queue-1":     {'#', "queue-1"},
		"bücher.test":  {0, "xn--bcher-kva.test"},
		"com":          {0, "com"},
	} {
		n, err := ParseETRN(in)
		if err != nil || n != want {
			t.Errorf("%q: %v, %v", in, n, err)
		}
		if again, err := ParseETRN(n.String()); err != nil || again != n {
			t.Errorf("%q does not come back: %v, %v", n, again, err)
		}
	}
	for in, want := range map[string]int{
		"": 500, "@": 501, "#": 501, "a b": 501, "example..org": 501, "@@example.org": 501, "[127.0.0.1]": 501, "# x": 501,
		"-.test": 501, "#" + strings.Repeat("x", 256): 501, strings.Repeat("x", 300): 501, "#a\x01": 501, "#b\u00fc": 501,
	} {
		_, err := ParseETRN(in)
		if r := ReplyOf(err, false); r.Code != want || !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %v, want %d", in, r, want)
		}
	}
}
