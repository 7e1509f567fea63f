package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"
)

// needle is a word in one message of a hundred.
const needle = "zyzzyvaquartz"

var words = []string{
	"the", "report", "meeting", "schedule", "budget", "please", "review", "attached", "project",
	"deadline", "tomorrow", "server", "customer", "invoice", "payment", "contract", "regards", "thanks", "question",
	"answer", "team", "update", "release", "version", "network", "storage", "window", "garden", "coffee", "train",
	"mountain", "river", "summer", "winter", "letter", "number", "system", "change", "issue", "status", "of", "and",
	"to", "in", "for", "with", "on", "at", "from", "by", "about", "after", "before", "under", "over", "between",
}

type rng uint64

func (r *rng) next() uint64 {
	*r ^= *r << 13
	*r ^= *r >> 7
	*r ^= *r << 17
	return uint64(*r)
}

func subjectOf(i int) string {
	r := rng(uint64(i)*2654435761 + 88172645463325252)
	r.next()
	return fmt.Sprintf("%s %s %s %d", words[r.next()%56], words[r.next()%56], words[r.next()%56], i%997)
}

var msgEpoch = time.Date(2024, 1, 1, 8, 0, 0, 0, time.UTC)

// makeMessage builds message i, of about size bytes, deterministically.
// Seven in ten are plain text, two multipart/alternative, one has an
// attachment. Half reply to an earlier message.
func makeMessage(i, size int, from, to string) []byte {
	r := rng(uint64(i)*0x9E3779B97F4A7C15 + 0x1234567)
	r.next()
	var b bytes.Buffer
	b.Grow(size + 512)
	d := msgEpoch.Add(time.Duration(i) * 137 * time.Second)
	root := i
	if i%2 == 1 && i > 8 {
		root = i - 1 - int(r.next()%7)
	}
	subj := subjectOf(root)
	if root != i {
		subj = "Re: " + subj
	}
	fmt.Fprintf(&b, "Date: %s\r\n", d.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	fmt.Fprintf(&b, "From: \"Sender %d\" <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: <m%d.bench@bench.example>\r\n", i%211, from, to, subj, i)
	if root != i {
		fmt.Fprintf(&b, "In-Reply-To: <m%d.bench@bench.example>\r\nReferences: <m%d.bench@bench.example>\r\n", root, root)
	}
	b.WriteString("MIME-Version: 1.0\r\nUser-Agent: loadgen\r\nX-Filler: none\r\n")
	kind := i % 10
	if size > 1<<20 {
		kind = 9
	}
	text := func(n int) {
		end := b.Len() + n
		col := 0
		if i%100 == 50 {
			b.WriteString(needle + " ")
		}
		for b.Len() < end {
			w := words[r.next()%uint64(len(words))]
			b.WriteString(w)
			col += len(w) + 1
			if col > 66 {
				b.WriteString("\r\n")
				col = 0
			} else {
				b.WriteByte(' ')
			}
		}
		b.WriteString("\r\n")
	}
	switch {
	case kind < 7:
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n")
		text(size - b.Len() - 2)
	case kind < 9:
		bd := fmt.Sprintf("alt%d", i)
		fmt.Fprintf(&b, "Content-Type: multipart/alternative; boundary=%s\r\n\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", bd, bd)
		text((size - b.Len()) / 2)
		fmt.Fprintf(&b, "--%s\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><body><p>", bd)
		text(size - b.Len() - 40)
		fmt.Fprintf(&b, "</p></body></html>\r\n--%s--\r\n", bd)
	default:
		bd := fmt.Sprintf("mix%d", i)
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", bd, bd)
		text(min(800, size/4))
		fmt.Fprintf(&b, "--%s\r\nContent-Type: application/octet-stream; name=data.bin\r\nContent-Disposition: attachment; filename=data.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n", bd)
		raw := make([]byte, 57)
		line := make([]byte, 78)
		for b.Len() < size-20 {
			for j := range raw {
				raw[j] = byte(r.next() >> 11)
			}
			base64.StdEncoding.Encode(line, raw)
			line[76], line[77] = '\r', '\n'
			b.Write(line)
		}
		fmt.Fprintf(&b, "--%s--\r\n", bd)
	}
	return b.Bytes()
}
