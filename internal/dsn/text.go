package dsn

import (
	"fmt"
	"strings"

	"postel/internal/message"
)

// text gives the part for people, with LF line ends.
func (r *Report) text(o original) string {
	var b strings.Builder
	fmt.Fprintf(&b, "This is the mail system at %s.\n", r.ReportingMTA)
	if !r.Arrival.IsZero() {
		fmt.Fprintf(&b, "It is about the message that you sent, which arrived here on\n%s.\n", message.FormatDate(r.Arrival))
	}
	for _, a := range []Action{Failed, Delayed, Delivered, Relayed, Expanded} {
		r.section(&b, a)
	}
	switch {
	case o.full:
		b.WriteString("\nYour message is attached.\n")
	case o.cut:
		b.WriteString("\nYour message is too large to be returned in full; its header is attached.\n")
	case len(o.body) > 0:
		b.WriteString("\nThe header of your message is attached.\n")
	}
	return b.String()
}

// section tells of the recipients with one action.
func (r *Report) section(b *strings.Builder, a Action) {
	title := true
	for _, c := range r.Recipients {
		if c.Action != a {
			continue
		}
		if title {
			b.WriteString("\n" + heading(a) + "\n")
			title = false
		}
		fmt.Fprintf(b, "\n  <%s>\n", oneLine(c.Final.String()))
		if _, addr, ok := strings.Cut(c.Original, ";"); ok && !strings.EqualFold(strings.TrimSpace(addr), c.Final.String()) {
			fmt.Fprintf(b, "    (you wrote to %s)\n", oneLine(strings.TrimSpace(addr)))
		}
		for _, line := range c.lines() {
			for l := range strings.SplitSeq(message.FoldText(line, 4), "\r\n") {
				b.WriteString("    " + strings.TrimSpace(l) + "\n")
			}
		}
	}
}

func heading(a Action) string {
	switch a {
	case Failed:
		return "Your message could not be delivered to the following recipients. It will not be\ntried again."
	case Delayed:
		return "Your message could not be delivered yet to the following recipients. You need not\nsend it again: it will be retried."
	case Delivered:
		return "Your message was delivered to the following recipients."
	case Relayed:
		return "Your message was passed on for the following recipients to a system that will not\nreport its delivery."
	}
	return "Your message was passed on to the members of the following lists or aliases."
}

// lines gives what there is to say of a recipient.
func (c Recipient) lines() []string {
	var list []string
	if c.Reason != "" {
		list = append(list, oneLine(c.Reason))
	}
	switch {
	case c.Diagnostic != "" && c.RemoteMTA != "":
		list = append(list, oneLine("The host "+c.RemoteMTA+" said: "+c.Diagnostic))
	case c.Diagnostic != "":
		list = append(list, oneLine(c.Diagnostic))
	case c.Reason == "":
		list = append(list, "Status "+c.Status.String())
	}
	if c.Action == Delayed && !c.WillRetry.IsZero() {
		list = append(list, "It will be retried until "+message.FormatDate(c.WillRetry)+".")
	}
	return list
}

// Bounds of foreign text, in octets: what a reply can be made of, and what has no blank to be folded at.
const (
	maxForeign = 4096
	maxWord    = 900
)

// oneLine keeps foreign text within one line that can be folded to lines of 998 octets.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\r' || r == '\n' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), maxForeign)], "?"))
	for word := range strings.FieldsSeq(s) {
		if len(word) > maxWord {
			return strings.ToValidUTF8(s[:maxWord], "")
		}
	}
	return s
}
