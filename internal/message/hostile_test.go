package message

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is what a test may take on a busy machine; a quadratic path takes minutes.
const patience = 5 * time.Second * slowdown

// hostile gives messages that are slow where something is not linear.
func hostile() map[string]string {
	nest := new(strings.Builder)
	for i := range 20000 {
		fmt.Fprintf(nest, "Content-Type: multipart/mixed; boundary=\"%060d\"\r\n\r\n--%060d\r\n", i, i)
	}
	same := new(strings.Builder)
	for i := range 99 {
		fmt.Fprintf(same, "Content-Type: multipart/mixed; boundary=\"%060d\"\r\n\r\n--%060d\r\n", i, i)
	}
	long := strings.Repeat("x", 1<<20)
	return map[string]string{
		"parts":        "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 50000),
		"nested":       nest.String(),
		"boundaries":   same.String() + strings.Repeat("--"+strings.Repeat("0", 58)+"xx\r\n", 100000),
		"rfc822":       strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 50000),
		"long line":    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--" + strings.Repeat("-", 8<<20),
		"long header":  "Subject: " + long + "\r\n" + strings.Repeat("To: "+strings.Repeat("a@b,", 1000)+"\r\n", 100) + "\r\n",
		"empty fields": strings.Repeat(":\r\n", 300000),
		"quotes":       "To: " + strings.Repeat("\"a\\", 300000) + "\r\n\r\n",
		"comments":     "To: " + strings.Repeat("(", 900000) + "\r\n\r\n",
		"comments 2":   "To: " + strings.Repeat("a()<", 200000) + "\r\n\r\n",
		"brackets":     "To: " + strings.Repeat("<[", 400000) + "\r\n\r\n",
		"colons":       "To: " + strings.Repeat("a ", 200000) + "@" + strings.Repeat(":", 400000) + "\r\n\r\n",
		"routes":       "To: " + strings.Repeat("<@,", 300000) + ">\r\n\r\n",
		"params":       "Content-Type: a/b" + strings.Repeat("; a=\"", 200000) + "\r\n\r\n",
		"words":        "Subject: " + strings.Repeat("=?", 400000) + "\r\n\r\n",
		"encoding":     "Content-Transfer-Encoding: " + strings.Repeat("()", 400000) + "\r\n\r\n",
		"languages":    "Content-Language: " + strings.Repeat(",", 900000) + "\r\n\r\n",
		"folds":        "Subject:" + strings.Repeat("\r\n ", 300000) + "\r\n\r\n",
		"html":         "Content-Type: text/html\r\n\r\n" + strings.Repeat("<!--<a=\"", 1<<19),
	}
}

func TestParserIsLinear(t *testing.T) {
	t.Parallel()
	for name, in := range hostile() {
		var root *Part
		took := fastest(patience, func() { root = parse(t, Limits{}, in) })
		checkTree(t, root, int64(len(in)))
		if perMB := took / time.Duration(len(in)>>20+1); perMB > patience {
			t.Errorf("%s: %v for %d octets", name, took, len(in))
		}
		t.Logf("%s: %v for %d octets", name, took, len(in))
		if dec, err := Decode(root.AppendBinary(nil)); err != nil || treeDiff(root, dec) != "" {
			t.Errorf("%s: codec: %v", name, err)
		}
	}
}

// TestTreeIsBounded proves that a tree cannot grow with the message beyond its limits.
func TestTreeIsBounded(t *testing.T) {
	for name, in := range hostile() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		root := parse(t, Limits{}, in)
		runtime.GC()
		runtime.ReadMemStats(&after)
		if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 8<<20 {
			t.Errorf("%s: tree of %d octets", name, used)
		}
		runtime.KeepAlive(root)
		runtime.KeepAlive(in)
	}
}

// TestTextIsLinear runs what consumers call on hostile strings of 256 KiB, of less under the race detector.
func TestTextIsLinear(t *testing.T) {
	t.Parallel()
	for _, piece := range []string{"=?", "=?a?q?", "=?utf-8?q?a?=", "=?utf-8?b?", "(", "()", "<", "<@", "<a@b>,", "\"", "\"\\", ";a=\"", ";n*1=x", "a@", "&", "&a", "<!--", "=", "[", ":", "\xff", "1-", "\r\n ", "+", "~{"} {
		in := strings.Repeat(piece, (256<<10)/slowdown/len(piece))
		if took := fastest(patience, func() { readText(in) }); took > patience {
			t.Errorf("%q: %v", piece, took)
		}
	}
}

// fastest runs fn until it takes no longer than enough, three times at most: the machine may be busy.
func fastest(enough time.Duration, fn func()) time.Duration {
	best := time.Duration(1<<63 - 1)
	for range 3 {
		start := time.Now()
		fn()
		if best = min(best, time.Since(start)); best <= enough {
			break
		}
	}
	return best
}

// readText runs all that reads text.
func readText(in string) {
	DecodeText(in)
	ParseAddressList(in)
	_, params := ParseParams(in)
	ParamValue(params, "n")
	MessageIDs(in)
	_, _ = ParseDate(in)
	FoldText(EncodeText(in), 0)
	h, _ := ParseHeader("From: " + in)
	_ = h.Check()
	for _, charset := range []string{"utf-8", "utf-7", "hz-gb-2312", "iso-2022-kr"} {
		p := &Part{Type: "text", Subtype: "html", Encoding: "quoted-printable", Params: []Param{{"charset", charset}}}
		_, _ = contains(TextReader(p, strings.NewReader(in)), "needle")
	}
}
