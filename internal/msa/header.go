package msa

import (
	"context"
	"fmt"

	"postel/internal/mail"
	"postel/internal/message"
)

// edit checks the header as RFC 5322 §3.6 wants it and completes it (RFC 6409 §8).
func (t *transaction) edit(ctx context.Context, h *message.Header) error {
	h.Del("Return-Path")
	h.Del("Bcc") // RFC 5322 §3.6.3: before anyone but the author sees it
	if !h.Has("From") && t.peer.System != nil && !t.envelope.From.IsNull() {
		h.Add("From", t.envelope.From.String()) // what sendmail did for cron and shell scripts
	}
	now := t.Clock()
	if !h.Has("Date") {
		h.Add("Date", message.FormatDate(now))
	}
	if !h.Has("Message-ID") {
		h.Add("Message-ID", "<"+t.IDs.New(now).String()+"@"+string(t.Hostname)+">")
	}
	list, err := message.CheckAddressList(h.Get("From"))
	if err != nil {
		return err
	}
	own, err := t.author(ctx, list)
	if err != nil {
		return err
	}
	if len(list) > 1 && !h.Has("Sender") {
		h.Add("Sender", own.String()) // RFC 6409 §8.1, RFC 5322 §3.6.2
	}
	if err := h.Check(); err != nil {
		return err
	}
	if err := t.sender(ctx, h); err != nil {
		return err
	}
	if name := h.FoldLong(); name != "" {
		return refusal(mail.Enhanced{5, 6, 0}, "the %s field has a line of more than %d octets that cannot be folded (RFC 5322 section 2.1.1)", name, message.MaxLineOctets)
	}
	return nil
}

func refusal(code mail.Enhanced, format string, args ...any) error {
	return &mail.Error{Op: "msa.header", Kind: mail.Rejected, Code: code, Text: fmt.Sprintf(format, args...)}
}

// author wants an address of the user in From and gives it: Sender alone would let anyone put a colleague's name on a
// letter.
func (t *transaction) author(ctx context.Context, list []message.Address) (own mail.Address, err error) {
	for _, a := range list {
		addr, err := a.Mail()
		if err != nil {
			return own, refusal(mail.Enhanced{5, 6, 0}, "bad address in From")
		}
		if err := t.own(ctx, addr); err == nil || !mail.Is(err, mail.Denied) {
			return addr, err
		}
	}
	return own, &mail.Error{Op: "msa.header", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 1}, Text: "From names none of your addresses"}
}

// sender wants Sender, which names one mailbox, to be the user's too (RFC 6409 §6.1).
func (t *transaction) sender(ctx context.Context, h *message.Header) error {
	if !h.Has("Sender") {
		return nil
	}
	list, err := message.CheckAddressList(h.Get("Sender"))
	if err != nil {
		return err
	}
	for _, a := range list {
		addr, err := a.Mail()
		if err != nil {
			return refusal(mail.Enhanced{5, 6, 0}, "bad address in Sender")
		}
		if err := t.own(ctx, addr); err != nil {
			return err
		}
	}
	return nil
}
