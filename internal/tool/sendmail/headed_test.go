package sendmail

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

func TestHeaded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100000)
	for in, want := range map[string]string{
		"":                                      "",
		"hello\r\n":                             "\r\nhello\r\n",
		"hello":                                 "\r\nhello",
		"two words: not a field\r\n":            "\r\ntwo words: not a field\r\n",
		" indented\r\n":                         "\r\n indented\r\n",
		":x\r\n":                                "\r\n:x\r\n",
		"\r\nbody: x\r\ny\r\n":                  "\r\nbody: x\r\ny\r\n",
		"Subject: x\r\n\r\nhello\r\n":           "Subject: x\r\n\r\nhello\r\n",
		"Subject: x\r\n folded\r\nTo : y\r\nz":  "Subject: x\r\n folded\r\nTo : y\r\n\r\nz",
		"Subject: x\r\nhello\r\nSubject: y\r\n": "Subject: x\r\n\r\nhello\r\nSubject: y\r\n",
		"Subject: " + long + "\r\n" + long:      "Subject: " + long + "\r\n\r\n" + long,
		"caf\xc3\xa9: x\r\n":                    "\r\ncaf\xc3\xa9: x\r\n",
		"Subject: x":                            "Subject: x",
		strings.Repeat("A: b\r\n", 300000) + "x y": strings.Repeat("A: b\r\n", 300000) + "x y", // too long for a header: refused later
	} {
		got, err := io.ReadAll(headed(bufio.NewReader(strings.NewReader(in))))
		if err != nil || string(got) != want {
			t.Errorf("%.60q: %.80q %v", in, got, err)
		}
	}
}

// FuzzHeaded: what comes out is what went in, with one line end more at most, behind which there is no field.
func FuzzHeaded(f *testing.F) {
	f.Add("Subject: x\r\n y\r\nhello\r\n")
	f.Add("a b: c")
	f.Fuzz(func(t *testing.T, in string) {
		b, err := io.ReadAll(headed(bufio.NewReader(strings.NewReader(in))))
		if err != nil {
			t.Fatal(err)
		}
		out := string(b)
		if out == in {
			return
		}
		same := 0
		for same < len(in) && in[same] == out[same] {
			same++
		}
		for at := max(same-2, 0); at <= same; at++ { // the line end may equal what it stands beside
			if out[:at]+out[at+2:] == in && out[at:at+2] == "\r\n" && !isField([]byte(in[at:])) {
				return
			}
		}
		t.Fatalf("%q became %q", in, out)
	})
}
