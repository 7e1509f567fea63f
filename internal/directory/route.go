package directory

import (
	"net/netip"

	"postel/internal/mail"
)

// Route says how mail goes for a domain, or from a sender; Domain and Sender together are its name. What is zero is as for
// mail without a route; package route says what makes sense.
type Route struct {
	Domain   mail.Domain  `json:"domain,omitempty"` // "" is every domain
	Sender   string       `json:"sender,omitempty"` // an address or a domain, folded; "" is everybody
	Host     string       `json:"host,omitempty"`
	Port     uint16       `json:"port,omitempty"`
	Proto    string       `json:"proto,omitempty"`
	TLS      string       `json:"tls,omitempty"`
	Source   []netip.Addr `json:"source,omitempty"`
	User     string       `json:"user,omitempty"`
	Password string       `json:"password,omitempty"` // where it stands: "file:…" or "env:…"
	Rate     int          `json:"rate,omitempty"`     // messages a minute
	Sessions int          `json:"sessions,omitempty"` // at once
	// The schedule, in seconds.
	First    int64 `json:"retry_first,omitempty"`
	Max      int64 `json:"retry_max,omitempty"`
	Lifetime int64 `json:"retry_lifetime,omitempty"`
}
