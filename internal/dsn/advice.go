package dsn

import (
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
)

// class is what a report advises its reader about: what became of a recipient, as far as that changes what to do.
type class uint8

// The classes, in the order in which a report tells of them.
const (
	noUser class = iota
	noDomain
	mailboxFull
	disabled
	tooBig
	content
	policy
	noTLS
	unreachable
	looped
	expired
	otherFailure
	waiting
	arrived
	passedOn
	expandedTo
	classes // how many there are
)

// classOf tells what a recipient's reader is to be advised about.
func (c Recipient) classOf() class {
	switch c.Action {
	case Delayed:
		return waiting
	case Delivered:
		return arrived
	case Relayed:
		return passedOn
	case Expanded:
		return expandedTo
	}
	said := replyStatus(c.Diagnostic)
	if k := failureOf(c.Status); k != otherFailure && (k != expired || failureOf(said) != mailboxFull) {
		return k
	}
	if k := failureOf(said); k != otherFailure {
		return k
	}
	return failureOfCode(c.Diagnostic)
}

// failureOf reads a status (RFC 3463 §3); a detail that is not known counts as its subject does.
func failureOf(s mail.Enhanced) class {
	switch [2]uint16{s[1], s[2]} {
	case [2]uint16{1, 2}, [2]uint16{1, 10}, [2]uint16{4, 4}:
		return noDomain
	case [2]uint16{1, 0}, [2]uint16{1, 1}, [2]uint16{1, 3}, [2]uint16{1, 4}, [2]uint16{1, 6}:
		return noUser
	case [2]uint16{2, 2}:
		return mailboxFull
	case [2]uint16{2, 1}:
		return disabled
	case [2]uint16{2, 3}, [2]uint16{3, 4}:
		return tooBig
	case [2]uint16{4, 6}:
		return looped
	case [2]uint16{4, 7}:
		return expired
	case [2]uint16{7, 5}, [2]uint16{7, 10}, [2]uint16{7, 11}, [2]uint16{7, 30}:
		return noTLS
	}
	switch s[1] {
	case 4:
		return unreachable
	case 6:
		return content
	case 7:
		return policy
	}
	return otherFailure
}

// failureOfCode reads the code of a reply without a status that says more (RFC 5321 §4.2.3).
func failureOfCode(reply string) class {
	switch code, _, _ := strings.Cut(reply, " "); code {
	case "551", "553":
		return noUser
	case "552":
		return mailboxFull
	}
	return otherFailure
}

// replyStatus gives the status that stands in a reply, "452 4.2.2 mailbox full"; zero when there is none.
func replyStatus(reply string) mail.Enhanced {
	_, rest, _ := strings.Cut(reply, " ")
	return parseStatus(rest)
}

// language holds what a report says, but for what other hosts said.
type language struct {
	tag     string          // RFC 5646
	name    string          // in itself, above its part of a report in several
	advice  [classes]string // one sentence that says what to do, then why
	given   string          // of failures
	wrote   string          // %s: an address
	said    string          // %s: a host, then its reply
	status  string          // %s
	until   string          // %s: a date
	whole   string
	large   string
	header  string
	system  string // %s: our name
	came    string // %s: a date
	layout  string // of dates (package time); "" is as RFC 5322 has them
	failed  string // subjects
	delayed string
	success string
}

// Languages are the tags of the languages that a report can be in.
func Languages() []string {
	var tags []string
	for _, l := range languages() {
		tags = append(tags, l.tag)
	}
	return tags
}

func languages() []*language { return []*language{english(), french()} }

// in gives the languages of a report; what is not known is left out, and without any it is all of them.
func in(tags []string) []*language {
	var list []*language
	for _, t := range tags {
		for _, l := range languages() {
			if strings.EqualFold(l.tag, t) {
				list = append(list, l)
			}
		}
	}
	if len(list) == 0 {
		return languages()
	}
	return list
}

func (l *language) date(t time.Time) string {
	if l.layout == "" {
		return message.FormatDate(t)
	}
	return t.Format(l.layout)
}

func english() *language {
	return &language{
		tag: "en", name: "English",
		advice: [classes]string{
			noUser:       "Check the address and send your message again: there is no such mailbox.",
			noDomain:     "Check what stands behind the @ and send your message again: this domain does not exist, or takes no mail.",
			mailboxFull:  "Send your message again in some days, or reach the recipient by other means: the mailbox is full.",
			disabled:     "Reach the recipient by other means: the mailbox is out of use.",
			tooBig:       "Send your message in smaller parts, or links in place of large files: it is too big for the recipient's server.",
			content:      "Send your message in another form, as plain text or with other attachments: the recipient's server does not take it as it is.",
			policy:       "Reach the recipient by other means, or show this report to your postmaster: the recipient's server refused your message by its rules, or took it for spam.",
			noTLS:        "Reach the recipient by other means, or ask the recipient's postmaster to mend it: a protected connection was demanded and did not come about.",
			unreachable:  "Send your message again later, or reach the recipient by other means: the recipient's server cannot be reached.",
			looped:       "Tell the recipient's postmaster by other means: mail for this address goes in a circle.",
			expired:      "Check the address and send your message again later: it could not be delivered in the time that this system keeps trying.",
			otherFailure: "Read the reply below and reach the recipient by other means: your message could not be delivered.",
			waiting:      "You need do nothing: your message could not be delivered yet, and will be tried again.",
			arrived:      "You need do nothing: your message was delivered.",
			passedOn:     "You need do nothing: your message was passed on to a system that will not report its delivery.",
			expandedTo:   "You need do nothing: your message was passed on to the members of a list or alias.",
		},
		given:   "It will not be tried again.",
		wrote:   "(you wrote to %s)",
		said:    "The host %s said: %s",
		status:  "Status %s",
		until:   "It will be tried again until %s.",
		whole:   "Your message is attached.",
		large:   "Your message is too large to be returned in full; its header is attached.",
		header:  "The header of your message is attached.",
		system:  "This is the mail system at %s.",
		came:    "Your message arrived here on %s.",
		failed:  "Undelivered mail returned to sender",
		delayed: "Delayed mail (still being retried)",
		success: "Successful mail delivery report",
	}
}

func french() *language {
	return &language{
		tag: "fr", name: "Français",
		advice: [classes]string{
			noUser:       "Vérifiez l'adresse et renvoyez votre message : cette boîte aux lettres n'existe pas.",
			noDomain:     "Vérifiez ce qui suit l'@ et renvoyez votre message : ce domaine n'existe pas ou ne reçoit pas de courrier.",
			mailboxFull:  "Renvoyez votre message dans quelques jours ou joignez le destinataire autrement : sa boîte aux lettres est pleine.",
			disabled:     "Joignez le destinataire autrement : sa boîte aux lettres est hors service.",
			tooBig:       "Envoyez votre message en plusieurs parties, ou des liens à la place des gros fichiers : il est trop volumineux pour le serveur du destinataire.",
			content:      "Envoyez votre message sous une autre forme, en texte simple ou avec d'autres pièces jointes : le serveur du destinataire ne l'accepte pas tel quel.",
			policy:       "Joignez le destinataire autrement, ou montrez cet avis à l'administrateur de votre messagerie : le serveur du destinataire a refusé votre message selon ses règles, ou l'a pris pour du courrier indésirable.",
			noTLS:        "Joignez le destinataire autrement, ou demandez à l'administrateur de sa messagerie d'y remédier : une connexion protégée était exigée et n'a pas pu être établie.",
			unreachable:  "Renvoyez votre message plus tard ou joignez le destinataire autrement : son serveur est injoignable.",
			looped:       "Prévenez autrement l'administrateur de la messagerie du destinataire : le courrier pour cette adresse tourne en rond.",
			expired:      "Vérifiez l'adresse et renvoyez votre message plus tard : il n'a pas pu être remis dans le temps imparti aux essais.",
			otherFailure: "Lisez la réponse ci-dessous et joignez le destinataire autrement : votre message n'a pas pu être remis.",
			waiting:      "Vous n'avez rien à faire : votre message n'a pas encore pu être remis, et d'autres essais suivront.",
			arrived:      "Vous n'avez rien à faire : votre message a été remis.",
			passedOn:     "Vous n'avez rien à faire : votre message a été transmis à un système qui n'annoncera pas sa remise.",
			expandedTo:   "Vous n'avez rien à faire : votre message a été transmis aux membres d'une liste ou d'un alias.",
		},
		given:   "Il n'y aura pas d'autre essai.",
		wrote:   "(vous avez écrit à %s)",
		said:    "Le serveur %s a répondu : %s",
		status:  "Code %s",
		until:   "Les essais se poursuivront jusqu'au %s.",
		whole:   "Votre message est joint.",
		large:   "Votre message est trop volumineux pour être retourné en entier ; son en-tête est joint.",
		header:  "L'en-tête de votre message est joint.",
		system:  "Ceci est le système de messagerie de %s.",
		came:    "Votre message y est arrivé le %s.",
		layout:  "02/01/2006 à 15:04 -0700",
		failed:  "Courrier non remis, retourné à l'expéditeur",
		delayed: "Courrier retardé (les essais continuent)",
		success: "Avis de remise du courrier",
	}
}
