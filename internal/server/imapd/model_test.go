package imapd

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// believer is a client that knows of its mailbox only what it was told, and checks that what it is told can be.
type believer struct {
	*client
	uids  []int // by message number from 1; 0: not known yet
	flags []string
	rnd   *rand.Rand
	calls int
}

var (
	numbered = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE|RECENT|FETCH)(.*)$`)
	uidItem  = regexp.MustCompile(`UID (\d+)`)
	flagItem = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
)

// hear takes the untagged lines of an answer to a command.
func (b *believer) hear(cmd string, lines []string) error {
	mayExpunge := !strings.HasPrefix(cmd, "FETCH") && !strings.HasPrefix(cmd, "STORE") && !strings.HasPrefix(cmd, "SEARCH")
	for _, l := range whole(lines) {
		m := numbered.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[1])
		switch m[2] {
		case "EXISTS":
			if n < len(b.uids) {
				return fmt.Errorf("%s: EXISTS shrinks %d to %d", cmd, len(b.uids), n)
			}
			for len(b.uids) < n {
				b.uids, b.flags = append(b.uids, 0), append(b.flags, "?")
			}
		case "EXPUNGE":
			if !mayExpunge || n < 1 || n > len(b.uids) {
				return fmt.Errorf("%s: %s with %d messages", cmd, l, len(b.uids))
			}
			b.uids, b.flags = slices.Delete(b.uids, n-1, n), slices.Delete(b.flags, n-1, n)
		case "FETCH":
			if err := b.fetched(cmd, n, m[3]); err != nil {
				return err
			}
		}
	}
	return nil
}

// whole joins what a literal has cut: the items behind it belong to the line before it.
func whole(lines []string) []string {
	var joined []string
	for _, l := range lines {
		if n := len(joined); n > 0 && !strings.HasPrefix(l, "* ") && !strings.HasPrefix(l, "t ") {
			joined[n-1] += l
		} else {
			joined = append(joined, l)
		}
	}
	return joined
}

// fetched checks that a number still means the same message.
func (b *believer) fetched(cmd string, n int, items string) error {
	if n < 1 || n > len(b.uids) {
		return fmt.Errorf("%s: FETCH of %d with %d messages", cmd, n, len(b.uids))
	}
	if u := uidItem.FindStringSubmatch(items); u != nil {
		uid, _ := strconv.Atoi(u[1])
		if old := b.uids[n-1]; old != 0 && old != uid {
			return fmt.Errorf("%s: message %d was UID %d, is UID %d", cmd, n, old, uid)
		}
		b.uids[n-1] = uid
	}
	if f := flagItem.FindStringSubmatch(items); f != nil {
		words := strings.Fields(f[1])
		words = slices.DeleteFunc(words, func(w string) bool { return w == `\Recent` })
		slices.Sort(words)
		b.flags[n-1] = strings.Join(words, " ")
	}
	return nil
}

func (b *believer) ask(cmd string) error {
	b.calls++
	b.send("t " + cmd)
	lines := b.until("t")
	if m := silently.FindStringSubmatch(cmd); m != nil && strings.HasPrefix(lines[len(lines)-1], "t OK") {
		b.assume(m)
	}
	last := lines[len(lines)-1]
	if strings.HasPrefix(last, "t BAD") || last == "<closed>" {
		return fmt.Errorf("%s: %s", cmd, last)
	}
	return b.hear(cmd, lines)
}

// silently is a STORE that is not answered with the flags.
var silently = regexp.MustCompile(`^(UID )?STORE (\d+):(\d+|\*) ([+-]?)FLAGS\.SILENT \((.*)\)$`)

// assume does to the flags what a silent STORE did.
func (b *believer) assume(m []string) {
	from, _ := strconv.Atoi(m[2])
	to, err := strconv.Atoi(m[3])
	if err != nil { // "*"
		to = len(b.uids)
	}
	if m[1] != "" {
		for n := range b.flags { // not all UIDs are known: forget
			b.flags[n] = "?"
		}
		return
	}
	for n := min(from, to); n <= max(from, to); n++ {
		words := strings.Fields(b.flags[n-1])
		words = slices.DeleteFunc(words, func(w string) bool { return w == m[5] || m[4] == "" })
		if m[4] != "-" {
			words = append(words, m[5])
		}
		slices.Sort(words)
		if b.flags[n-1] != "?" || m[4] == "" {
			b.flags[n-1] = strings.Join(words, " ")
		}
	}
}

func (b *believer) random() string {
	one := func() int { return 1 + b.rnd.IntN(len(b.uids)) }
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, "kw1", "kw2"}[b.rnd.IntN(5)]
	op := []string{"+", "-", "+", ""}[b.rnd.IntN(4)]
	silent := []string{"", ".SILENT"}[b.rnd.IntN(2)]
	switch k := b.rnd.IntN(13); {
	case k == 0 || len(b.uids) == 0:
		m := "Subject: x\r\n\r\n"
		return fmt.Sprintf("APPEND INBOX (kw3) {%d+}\r\n%s", len(m), m)
	case k == 1:
		return "NOOP"
	case k == 2:
		return fmt.Sprintf("FETCH %d:%d (UID FLAGS)", one(), one())
	case k == 3:
		return fmt.Sprintf("FETCH %d (BODY[] UID)", one())
	case k == 4:
		return "UID FETCH 1:* (FLAGS)"
	case k == 5:
		return "EXPUNGE"
	case k == 6:
		return fmt.Sprintf("COPY %d INBOX", one())
	case k == 7:
		return fmt.Sprintf("MOVE %d INBOX", one())
	case k == 8:
		return "SEARCH UNSEEN"
	case k == 9:
		return fmt.Sprintf("UID STORE %d:* %sFLAGS%s (%s)", b.uids[one()-1]+1, op, silent, flag)
	}
	return fmt.Sprintf("STORE %d:%d %sFLAGS%s (%s)", one(), one(), op, silent, flag)
}

// TestBelievers: sessions that change one mailbox at random, all at once. No number ever changes its meaning
// unannounced, and in the end each believes what is.
func TestBelievers(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true, noGlass: true})
	const sessions, steps = 5, 150
	all := make([]*believer, sessions)
	for i := range all {
		all[i] = &believer{client: w.login(), rnd: rand.New(rand.NewPCG(uint64(i), 7))}
		must(t, all[i].ask("SELECT INBOX"))
	}
	var wg sync.WaitGroup
	errs := make([]error, sessions)
	for i, b := range all {
		wg.Go(func() {
			for range steps {
				if errs[i] = b.ask(b.random()); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	fresh := &believer{client: w.login()}
	must(t, fresh.ask("EXAMINE INBOX"))
	must(t, fresh.ask("UID FETCH 1:* (FLAGS)"))
	for i, b := range all {
		must(t, b.ask("NOOP"))
		if len(b.uids) != len(fresh.uids) {
			t.Fatalf("session %d believes in %d messages, there are %d", i, len(b.uids), len(fresh.uids))
		}
		for n := range b.uids {
			if b.uids[n] != 0 && b.uids[n] != fresh.uids[n] {
				t.Errorf("session %d: message %d is UID %d, not %d", i, n+1, fresh.uids[n], b.uids[n])
			}
			if b.flags[n] != "?" && b.uids[n] != 0 && b.flags[n] != fresh.flags[n] {
				t.Errorf("session %d: UID %d has %q, not %q", i, fresh.uids[n], fresh.flags[n], b.flags[n])
			}
		}
	}
}
