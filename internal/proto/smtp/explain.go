package smtp

import "postel/internal/mail"

// Meaning explains a refusal to people: what it means, what mends it, and where that is written.
type Meaning struct {
	Text   string `json:"text"`
	Mend   string `json:"mend,omitempty"`
	Clause string `json:"clause,omitempty"`
}

// Explain says what a refusal means, by its enhanced status, else by its code. The class only tells whether to try again.
func Explain(code int, e mail.Enhanced) Meaning {
	m, ok := meanings[[2]uint16{e[1], e[2]}]
	if e[0] == 0 || !ok {
		if m, ok = codes[code]; !ok {
			m = Meaning{Text: "refused, without a reason that the protocol has a word for", Clause: "RFC 5321 §4.2.1"}
		}
	}
	switch {
	case code/100 == 4 && m.Mend == "":
		m.Mend = "nothing need be done: it is tried again"
	case code/100 == 5 && m.Mend == "":
		m.Mend = "trying the same again is of no use"
	}
	return m
}

// codes are for replies without an enhanced status.
var codes = map[int]Meaning{
	421: {Text: "the server closes the connection, being too busy, stopping, or tired of this client", Clause: "RFC 5321 §3.8"},
	450: {Text: "the mailbox cannot take mail now; often greylisting or a limit of rate", Clause: "RFC 5321 §4.2.3"},
	451: {Text: "the server failed at something of its own", Clause: "RFC 5321 §4.2.3"},
	452: {Text: "no room now, or too many recipients at once", Clause: "RFC 5321 §4.5.3.1.10"},
	500: {Text: "the command was not understood", Clause: "RFC 5321 §4.2.4"},
	501: {Text: "the command's arguments were not understood", Clause: "RFC 5321 §4.2.4"},
	502: {Text: "the command is not offered here", Clause: "RFC 5321 §4.2.4"},
	503: {Text: "the command came in the wrong order", Clause: "RFC 5321 §4.1.4"},
	530: {Text: "the server wants a login or TLS first", Clause: "RFC 4954 §6, RFC 3207 §4"},
	535: {Text: "the login was wrong", Clause: "RFC 4954 §6"},
	550: {Text: "the mailbox does not exist, or the server does not want this mail", Clause: "RFC 5321 §4.2.3"},
	551: {Text: "the user is elsewhere", Clause: "RFC 5321 §3.4"},
	552: {Text: "the message is too large, or the mailbox is full", Clause: "RFC 1870 §6.3"},
	553: {Text: "the address cannot be used", Clause: "RFC 5321 §4.2.3"},
	554: {Text: "the server does not want this mail or this client", Clause: "RFC 5321 §4.2.2"},
	555: {Text: "a parameter of MAIL or RCPT is not known to the server", Clause: "RFC 5321 §4.1.1.11"},
	556: {Text: "the domain says that it takes no mail", Clause: "RFC 7504 §4"},
}

// meanings are by subject and detail (RFC 3463 §3, and the registry that RFC 5248 began).
var meanings = map[[2]uint16]Meaning{
	{1, 1}:  {"no such mailbox at this domain", "look for a slip in what stands before the @", "RFC 3463 §3.2"},
	{1, 2}:  {"no such domain", "look for a slip in what stands behind the @; the domain may have lost its DNS", "RFC 3463 §3.2"},
	{1, 3}:  {"the recipient's address has a wrong form", "write it as local-part@domain", "RFC 3463 §3.2"},
	{1, 6}:  {"the mailbox has moved and left no address", "", "RFC 3463 §3.2"},
	{1, 7}:  {"the sender's address has a wrong form", "write it as local-part@domain", "RFC 3463 §3.2"},
	{1, 8}:  {"the sender's domain does not exist, or cannot take replies", "give the domain MX or address records", "RFC 3463 §3.2"},
	{1, 10}: {"the recipient's domain takes no mail (null MX)", "write to another address", "RFC 7505 §4"},
	{2, 1}:  {"the mailbox is disabled", "its owner or operator must enable it", "RFC 3463 §3.3"},
	{2, 2}:  {"the mailbox is full", "its owner must remove something, or be given more room", "RFC 3463 §3.3"},
	{2, 3}:  {"the message is longer than the mailbox takes", "send it in parts, or a link to it", "RFC 3463 §3.3"},
	{3, 0}:  {"the receiving system has a fault of its own", "", "RFC 3463 §3.4"},
	{3, 1}:  {"the receiving system's disk is full", "", "RFC 3463 §3.4"},
	{3, 2}:  {"the receiving system takes no mail at the moment: it stops or is under repair", "", "RFC 3463 §3.4"},
	{3, 4}:  {"the message is too large for the system", "send it in parts, or a link to it", "RFC 3463 §3.4"},
	{4, 1}:  {"the host did not answer", "look whether the host is up and whether port 25 is let out from here", "RFC 3463 §3.5"},
	{4, 2}:  {"the connection broke or took too long", "", "RFC 3463 §3.5"},
	{4, 3}:  {"the directory of where the mail goes (DNS) did not answer", "look at the resolver", "RFC 3463 §3.5"},
	{4, 4}:  {"there is no way to the host: its domain has no host for mail", "the domain needs MX or address records", "RFC 3463 §3.5"},
	{4, 5}:  {"the receiving system is overloaded", "", "RFC 3463 §3.5"},
	{4, 6}:  {"the mail goes in a circle", "an alias or a route leads back: look at both servers' settings", "RFC 3463 §3.5"},
	{4, 7}:  {"it took too long: the time for delivery is over", "", "RFC 3463 §3.5"},
	{5, 0}:  {"something that is no SMTP was said", "", "RFC 3463 §3.6"},
	{5, 1}:  {"the command is unknown or came in the wrong order", "the client's program is at fault", "RFC 3463 §3.6"},
	{5, 2}:  {"the line could not be understood", "the client's program is at fault: lines end with CR LF", "RFC 3463 §3.6"},
	{5, 3}:  {"too many recipients in one transaction", "the rest goes in another transaction", "RFC 3463 §3.6"},
	{5, 4}:  {"the command's arguments could not be understood", "HELP and the command's name show what is wanted", "RFC 3463 §3.6"},
	{6, 0}:  {"the content breaks a rule of mail", "the text of the reply names the field or line", "RFC 3463 §3.7"},
	{6, 1}:  {"content of this kind is not taken", "", "RFC 3463 §3.7"},
	{6, 3}:  {"the content would have to be converted and cannot be", "send it in seven bits; signed and encrypted parts are never changed", "RFC 3463 §3.7"},
	{6, 7}:  {"an address is not ASCII, and a server on the way does not take such", "use an ASCII address", "RFC 6531 §3.5"},
	{6, 8}:  {"the answer is not ASCII", "say SMTPUTF8 behind the argument of VRFY or EXPN", "RFC 6531 §3.7.4.2"},
	{6, 9}:  {"the header is not ASCII, and a server on the way does not take such", "encode its words (RFC 2047)", "RFC 6531 §3.5"},
	{7, 0}:  {"refused by the operator's rules, or too much was tried", "wait; then ask the postmaster of the receiving side, naming the session's id", "RFC 3463 §3.8"},
	{7, 1}:  {"the sender or client may not send this: relaying, another's address, or too much at once", "log in, write as yourself, or slow down", "RFC 3463 §3.8"},
	{7, 2}:  {"the members of a list are told to its owners", "", "RFC 5321 §3.5.2"},
	{7, 4}:  {"the security that is wanted cannot be had there", "the other side must offer TLS", "RFC 3463 §3.8"},
	{7, 8}:  {"the login was wrong", "check user and password; after many failures wait", "RFC 4954 §6"},
	{7, 10}: {"what was asked for needs TLS", "turn on STARTTLS in the client", "RFC 8689 §4.2.1"},
	{7, 11}: {"a login needs TLS first", "turn on STARTTLS in the client, or use port 465", "RFC 4954 §6"},
	{7, 30}: {"the message demands TLS all the way, and it cannot be had", "", "RFC 8689 §5"},
}
