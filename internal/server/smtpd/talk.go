package smtpd

import (
	"context"
	"strings"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

func (s *session) noop(context.Context, string) (smtp.Reply, error) {
	return smtp.NewReply(250, mail.Enhanced{2, 0, 0}, "still here"), nil
}

func (s *session) quit(context.Context, struct{}) (smtp.Reply, error) {
	s.done = true
	return smtp.NewReply(221, mail.Enhanced{2, 0, 0}, "%s good bye", s.server.o.Hostname), nil
}

// about gives the keywords of the extensions, each with its RFC.
func (s *session) about() string {
	var all []string
	for _, x := range s.server.extensions {
		all = append(all, x.keyword+" ("+x.rfc+")")
	}
	return strings.Join(all, ", ")
}

// help lists the commands, or explains one.
func (s *session) help(_ context.Context, topic string) (smtp.Reply, error) {
	r := smtp.Reply{Code: 214, Enhanced: mail.Enhanced{2, 0, 0}}
	if topic == "" {
		var verbs []string
		for _, c := range s.server.commands {
			verbs = append(verbs, c.verb)
		}
		r.Lines = []string{"commands: " + strings.Join(verbs, " "), "extensions: " + s.about(), "HELP command explains one"}
		return r, nil
	}
	c := s.server.byVerb[strings.ToUpper(topic)]
	if c == nil {
		return smtp.Reply{}, smtp.Fail(504, mail.NotFound, mail.Enhanced{5, 5, 4}, "no help for that; HELP lists the commands")
	}
	r.Lines = []string{c.syntax, c.about + " (" + c.rfc + ")"}
	if c.mistake != "" {
		r.Lines = append(r.Lines, "mind: "+c.mistake)
	}
	ascii := strings.NewReplacer("§", "section ", "…", "...") // RFC 5321 §4.2: textstring
	for i, l := range r.Lines {
		r.Lines[i] = ascii.Replace(l)
	}
	return r, nil
}
