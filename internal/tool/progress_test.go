package tool

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress shows octets on a terminal, not more than twice a second, and nothing anywhere else.
func TestProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out, through bytes.Buffer
		p := NewProgress(&Env{Err: &out})
		w := p.Octets(&through, "restored")
		write := func() {
			t.Helper()
			if _, err := w.Write(make([]byte, 1_000_000)); err != nil {
				t.Fatal(err)
			}
		}
		write()
		if p.End(); out.Len() > 0 {
			t.Errorf("no terminal, and %q", out.String())
		}
		p.on = true
		for range 4 {
			write()
			time.Sleep(300 * time.Millisecond)
		}
		p.End()
		const clear = "\r\x1b[K"
		if got := strings.Split(out.String(), clear); len(got) != 4 || got[1] != "2.0 MB restored" || got[2] != "4.0 MB restored" || got[3] != "" {
			t.Errorf("%q", got)
		}
		if through.Len() != 5_000_000 {
			t.Errorf("%d octets came through", through.Len())
		}
	})
}
