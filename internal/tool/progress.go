package tool

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Progress shows how far a command is, on a terminal, twice a second.
type Progress struct {
	env  *Env
	on   bool
	last time.Time
}

// NewProgress shows nothing where standard error is no terminal, and with --quiet or --json.
func NewProgress(env *Env) *Progress {
	f, ok := env.Err.(*os.File)
	return &Progress{env: env, on: ok && term.IsTerminal(int(f.Fd())) && !env.Quiet && !env.JSON}
}

// Show says where it is, unless it just did.
func (p *Progress) Show(format string, args ...any) {
	if p.on && time.Since(p.last) > 500*time.Millisecond {
		p.last = time.Now()
		_, _ = fmt.Fprint(p.env.Err, "\r\x1b[K"+Plain(fmt.Sprintf(format, args...)))
	}
}

// End removes what it showed, before other output.
func (p *Progress) End() {
	if p.on && !p.last.IsZero() {
		_, _ = fmt.Fprint(p.env.Err, "\r\x1b[K")
	}
}

// Octets gives w, and shows how much went through it; what says of what.
func (p *Progress) Octets(w io.Writer, what string) io.Writer { return &shown{w: w, p: p, what: what} }

type shown struct {
	w    io.Writer
	p    *Progress
	what string
	n    int64
}

func (s *shown) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.n += int64(n)
	s.p.Show("%.1f MB %s", float64(s.n)/1e6, s.what)
	return n, err
}
