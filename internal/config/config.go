// Package config reads what a node needs to start: the file postel.toml, checked into final types. Its settings
// are one table (settings.go): key, default, meaning and parser stand in one row, and unknown keys, the printed
// configuration and the reference derive from it. Only app and cmd see a Config; every other package has Options
// of its own.
package config

import (
	"net/netip"
	"time"

	"postel/internal/mail"
)

// Config is a whole, valid configuration.
type Config struct {
	Hostname mail.Domain
	Data     string
	Admin    mail.Address // zero: postmaster of the first domain
	TLS      TLS
	StartTLS map[string]string // by listener: TLSOff, TLSOffered, TLSRequired
	CramMD5  string            // "on" or "off": CRAM-MD5 and APOP beside the odmr port
	OAuth    OAuth
	Listen   map[string]string // by listener name; "" is off; "host:port" or "unix:/path"
	Storage  string            // "embedded", "memory" or the URL of a database
	Blobs    Blobs
	Changes  Changes
	Undelete time.Duration  // how long expunged mail is kept; 0: not at all
	Ballast  int64          // octets of the file that is given up on a full disk; 0 is none
	Resolver netip.AddrPort // zero: the system's
	Trusted  []netip.Prefix // where resolvers are whose word on DNSSEC is believed, besides loopback
	XClient  []netip.Prefix // who may use XCLIENT and XFORWARD
	Proxies  []netip.Prefix // load balancers that send PROXY headers
	// SearchIndex is "on" or "off".
	SearchIndex string
	Queue       Queue
	Limits      Limits
	Submission  Submission
	TLSReports  TLSReports
	Languages   []string // of reports
	SRS         SRS
	Domains     []Domain
	Routes      []Route
	Fetches     []Fetch
}

// TLS names the certificate's files. With both empty TLS is off, and so are logins with passwords.
type TLS struct {
	Cert, Key string
	ClientCA  string // authorities of clients' certificates; "" asks for none
}

// OAuth says whose bearer tokens log in; with an empty Issuer nobody's.
type OAuth struct {
	Issuer, JWKS, Audience, Claim string
}

// What a listener does about STARTTLS.
const (
	TLSOff      = "off"
	TLSOffered  = "offered"
	TLSRequired = "required" // before anything else
)

// Changes says how much of the change log of each account is kept.
type Changes struct {
	Age  time.Duration
	Rows int
}

// Blobs says where large bodies lie.
type Blobs struct {
	URL string // "file", or s3://… with its secrets: never shown
}

// Queue says how undelivered mail is tried again.
type Queue struct {
	First       time.Duration // after the first failure; it doubles
	Max         time.Duration // up to this
	Lifetime    time.Duration // then it is returned
	Warn        time.Duration // then the sender is told of the delay; 0: only who asked
	Concurrency int           // connections to one destination at most
	Active      int           // deliveries at once at most

	NullLifetime time.Duration // of the null sender's mail
}

// Limits bound what one client can make the server do.
type Limits struct {
	Message          int64         // octets
	Header           int64         // octets of its header section
	MIMEDepth        int           // nesting of its parts that is understood
	MIMEParts        int           // number of its parts that is understood
	Recipients       int           // of one transaction
	PerAddress       int           // unauthenticated connections of one address
	PerUser          int           // sessions of one user from one address
	ConnectionRate   int           // of one address in a minute
	MessageRate      int           // likewise
	RecipientRate    int           // likewise
	FailedLoginRate  int           // of one address in an hour
	BadRecipients    int           // of one connection
	GreetDelay       time.Duration // of the smtp listener
	OverQuota        string        // "later" or "never"
	FailedLogins     int           // of one connection
	BadCommands      int           // of one connection
	LoginTime        time.Duration // to authenticate
	IdleSMTP         time.Duration
	IdlePOP3         time.Duration
	IdleIMAP         time.Duration
	Connections      int // of one listener
	MailboxesPerUser int
}

// SRS says how the senders of forwarded mail are rewritten.
type SRS struct {
	Forwards   string      // "on" or "off"
	Domain     mail.Domain // of their addresses; "": that of the alias
	SecretFile string      // "": a secret of the directory
	Days       int         // for which they lead back
	HashLength int         // characters
}

// Submission is what is particular to mail of our own users.
type Submission struct {
	Messages      int    // of one user in a minute
	Recipients    int    // of one user in a day
	ClientAddress string // "shown" or "hidden"
	SaveSent      string // "on" or "off"
}

// Domain is made sure of at every start.
type Domain struct {
	Name     mail.Domain
	Kind     string // "local" or "relay"
	CatchAll mail.Address
	Quota    int64               // octets of all its accounts; 0 leaves it as it is
	Messages int64               // likewise
	Aliases  map[string][]string // local part or address to addresses
	ETRN     mail.Callers        // who may have its queued mail sent at once
	ODMR     []mail.Address      // accounts that take its mail by ATRN; its kind is relay then
}

// Fetch asks a server for mail that it holds for us.
type Fetch struct {
	Host     string
	Port     int    // 0: the method's
	Method   string // "atrn" or "etrn"
	Domains  []mail.Domain
	User     string
	Password string
	TLS      string // "may", "must", "never"
	Every    time.Duration
}

// Route says how mail goes for a domain, or from a sender.
type Route struct {
	Domain   mail.Domain  // "" is all
	Sender   string       // address or domain; "" is all
	Host     string       // name, address, "unix:/path"; "" is as DNS says
	Port     uint16       // 0: the protocol's
	Source   []netip.Addr // to connect from
	Proto    string       // "smtp" or "lmtp"
	TLS      string       // "may", "must", "never"
	User     string
	Password string
	Tokens   []string      // a program with its arguments that gives bearer tokens in place of the password
	Rate     int           // messages a minute; 0 is no bound
	Sessions int           // at once; 0 is as any destination's
	First    time.Duration // these three in place of those of the queue; 0 is those
	Max      time.Duration
	Lifetime time.Duration
}

// Listeners lists the names of listeners in the order in which they are shown.
func Listeners() []string {
	return []string{"smtp", "submission", "submissions", "lmtp", "odmr", "imap", "imaps", "pop3", "pop3s", "web"}
}
