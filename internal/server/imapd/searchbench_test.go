package imapd

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"postel/internal/store"
)

// prose makes text of words whose frequencies are those of a language: the n-th most frequent has one n-th of the first.
type prose struct {
	r     *rand.Rand
	zipf  *rand.Zipf
	words []string
}

func newProse(seed uint64) *prose {
	r := rand.New(rand.NewPCG(seed, 9))
	p := &prose{r: r, zipf: rand.NewZipf(r, 1.07, 3, 49_999)}
	for len(p.words) < 50_000 {
		var b strings.Builder
		for range 1 + r.IntN(4) {
			b.WriteString([]string{"ka", "to", "ing", "en", "ver", "sta", "li", "or", "tion", "ma", "e", "un", "der", "qui", "pos", "tel"}[r.IntN(16)])
			b.WriteByte("abcdefghiklmnoprstuvwy"[r.IntN(22)])
		}
		p.words = append(p.words, b.String())
	}
	return p
}

func (p *prose) text(octets int) string {
	var b strings.Builder
	for line := 0; b.Len() < octets; {
		w := p.words[p.zipf.Uint64()]
		if line += len(w) + 1; line > 72 {
			b.WriteByte('\n')
			line = 0
		}
		b.WriteString(w)
		b.WriteString([]string{" ", " ", " ", " ", " ", " ", ", ", ". "}[p.r.IntN(8)])
	}
	return b.String() + "\n"
}

func (p *prose) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(p.r.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// mail makes a mail of 5 KB as they are in a mailbox: seven in ten plain, two in alternatives, one with a file.
func (p *prose) mail(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d]) by mail.example.org with ESMTPS id %s\n\tfor <alice@example.org>; Mon, 23 Nov 2026 13:59:%02d +0000\n", i%9, i%9, i%250, p.hex(9), i%60)
	fmt.Fprintf(&b, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1; h=from:to:subject:date;\n\tbh=%s=;\n\tb=%s\n\t %s\n\t %s\n", p.hex(32), p.hex(48), p.hex(48), p.hex(48))
	fmt.Fprintf(&b, "From: Sender %d <sender%d@example.net>\nTo: Alice <alice@example.org>\nSubject: %s\nMessage-ID: <%s@example.net>\nDate: Mon, 23 Nov 2026 13:59:00 +0000\nMIME-Version: 1.0\n",
		i%500, i%500, strings.TrimSpace(strings.ReplaceAll(p.text(40), "\n", " ")), p.hex(12))
	switch {
	case i%10 < 7:
		b.WriteString("Content-Type: text/plain; charset=utf-8\n\n" + p.text(4000))
	case i%10 < 9:
		text := p.text(1700)
		b.WriteString("Content-Type: multipart/alternative; boundary=B\n\n--B\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + text +
			"--B\nContent-Type: text/html; charset=utf-8\n\n<html><body><p style=\"color: #123\">" + strings.ReplaceAll(text, ". ", ".</p>\n<p>") + "</p></body></html>\n--B--\n")
	default:
		data := strings.Repeat("x", 10) + p.hex(1300)
		b.WriteString("Content-Type: multipart/mixed; boundary=B\n\n--B\n\n" + p.text(1800) + "--B\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n" +
			base64.StdEncoding.EncodeToString([]byte(data)) + "\n--B--\n")
	}
	return b.String()
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSearch measures SEARCH over a mailbox of 20,000 messages of 5 KB, without the index and with it.
func BenchmarkSearch(b *testing.B) {
	const n = 20_000
	w := start(b, setup{clearAuth: true, noGlass: true, index: true, dir: b.TempDir()})
	p := newProse(1)
	octets := 0
	for i := range n {
		text := p.mail(i)
		if i == n/2 {
			text += "and here stands zyzzyvaquartz. Which is rare\n"
		}
		octets += len(text)
		w.deliver("INBOX", text, store.Flags(0))
	}
	c := w.login()
	c.do("SELECT INBOX")
	word := p.words[30_000]
	keys := []struct{ name, key string }{
		{"absent", "BODY zyzzyvaquartzite"},
		{"inside", "BODY zzyvaquar"},
		{"frequent-part", "BODY ing"},
		{"word", `BODY "zyzzyvaquartz."`},
		{"across", `BODY "quartz. which is"`},
		{"whole-word", `BODY " zyzzyvaquartz. "`},
		{"text", "TEXT zzyvaquar"},
		{"middle", "BODY " + word},
		{"subject", "SUBJECT zyzzyva"},
		{"from", `FROM "Sender 7"`},
		{"list-id", "HEADER X-None zyzzyva"},
	}
	run := func(state string) {
		for _, k := range keys {
			b.Run(state+"/"+k.name, func(b *testing.B) {
				b.ReportAllocs()
				_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
				before := cpu()
				for b.Loop() {
					c.do("SEARCH %s", k.key)
				}
				b.ReportMetric(n*float64(b.N)/(cpu()-before).Seconds(), "messages/cpu-s")
			})
		}
	}
	index := w.server.o.Index
	w.server.o.Index = nil
	run("brute")
	w.server.o.Index = index
	began := cpu()
	must(b, w.index.Build(b.Context(), alice))
	took := cpu() - began
	st, err := w.index.Stats(b.Context(), alice)
	must(b, err)
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	b.Logf("%d segments, %.0f octets a message of %d, built at %.0f messages/cpu-s", st.Segments, float64(st.Octets)/n, octets/n, n/took.Seconds())
	run("indexed")
}
