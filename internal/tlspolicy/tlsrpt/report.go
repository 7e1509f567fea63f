package tlsrpt

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"time"

	"postel/internal/mail"
)

// PolicyType is what a session had to fit (RFC 8460 §4.4).
type PolicyType string

// The types.
const (
	TLSA     PolicyType = "tlsa"
	STS      PolicyType = "sts"
	NoPolicy PolicyType = "no-policy-found"
)

// Result is in which way a session failed (RFC 8460 §4.3). Reports that are read may have others.
type Result string

// The results: those of the negotiation (§4.3.1), of DANE and of MTA-STS (§4.3.2).
const (
	NoSTARTTLS    Result = "starttls-not-supported"
	HostMismatch  Result = "certificate-host-mismatch"
	Expired       Result = "certificate-expired"
	NotTrusted    Result = "certificate-not-trusted"
	Invalid       Result = "validation-failure"
	TLSAInvalid   Result = "tlsa-invalid"
	DNSSECInvalid Result = "dnssec-invalid"
	DANERequired  Result = "dane-required"
	STSUnfetched  Result = "sts-policy-fetch-error"
	STSInvalid    Result = "sts-policy-invalid"
	STSUntrusted  Result = "sts-webpki-invalid"
)

// Report is what one sender tells about the sessions of one span of time (RFC 8460 §4.4).
type Report struct {
	Organization string `json:"organization-name"`
	Range        Range  `json:"date-range"`
	Contact      string `json:"contact-info"`
	ID           string `json:"report-id"`
	Policies     Counts `json:"policies"`
}

// Range is the span of time, in UTC.
type Range struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// PolicyReport is what became of the sessions under one policy.
type PolicyReport struct {
	Policy   Policy    `json:"policy"`
	Summary  Summary   `json:"summary"`
	Failures []Failure `json:"failure-details,omitempty"`
}

// Policy is what sessions had to fit.
type Policy struct {
	Type    PolicyType  `json:"policy-type"`
	Strings Strings     `json:"policy-string,omitempty"` // TLSA records, or the lines of a policy of MTA-STS
	Domain  mail.Domain `json:"policy-domain"`           // whose it is: of DANE the TLSA base domain
	MX      Strings     `json:"mx-host,omitempty"`       // of MTA-STS: the names of hosts that it has
}

// Summary counts sessions.
type Summary struct {
	Successes int64 `json:"total-successful-session-count"`
	Failures  int64 `json:"total-failure-session-count"`
}

// Failure counts sessions that failed in the same way.
type Failure struct {
	Result      Result `json:"result-type"`
	SendingIP   string `json:"sending-mta-ip,omitempty"`
	MX          string `json:"receiving-mx-hostname,omitempty"`
	Hello       string `json:"receiving-mx-helo,omitempty"`
	ReceivingIP string `json:"receiving-ip,omitempty"`
	Sessions    int64  `json:"failed-session-count"`
	Information string `json:"additional-information,omitempty"`
	Reason      string `json:"failure-reason-code,omitempty"`
}

// Total counts the sessions of all policies.
func (r *Report) Total() Summary { return r.Policies.Total() }

// Write writes the report, compressed (RFC 8460 §5.2).
func (r *Report) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	err := json.NewEncoder(z).Encode(r)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	return err
}
