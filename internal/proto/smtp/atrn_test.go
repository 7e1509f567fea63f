package smtp

import (
	"fmt"
	"strings"
	"testing"

	"postel/internal/mail"
)

func TestParseATRN(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                    "[]",
		"Example.ORG":                         "[example.org]",
		"example.org,example.com,EXAMPLE.org": "[example.org example.com]",
		"bücher.test":                         "[xn--bcher-kva.test]",
	} {
		got, err := ParseATRN(in)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	var many []string
	for i := range maxTurned + 1 {
		many = append(many, fmt.Sprintf("d%d.test", i))
	}
	for _, in := range []string{",", "a.test,", ",a.test", "a.test, b.test", "a.test b.test", "[127.0.0.1]", "@a.test", "a..test", strings.Join(many, ",")} {
		_, err := ParseATRN(in)
		if r := ReplyOf(err, false); r.Code != 501 || !mail.Is(err, mail.Invalid) {
			t.Errorf("%.40q: %v", in, r)
		}
	}
}
