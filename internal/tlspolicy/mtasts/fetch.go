package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
)

// fetchTime bounds a fetch, all of it (RFC 8461 §3.3).
const fetchTime = time.Minute

// fetch gets the policy of a domain over HTTPS (RFC 8461 §3.3). Errors have Kind Unavailable, or Invalid for a policy
// that cannot be read.
func (c *Client) fetch(ctx context.Context, domain mail.Domain) (Policy, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	url := "https://mta-sts." + string(domain) + "/.well-known/mta-sts.txt"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Policy{}, unfetched("its address makes no sense", err)
	}
	host := dns.Dialer{Resolver: c.o.Resolver, Dial: c.o.Dial, Port: c.o.Port, Loopback: c.o.AllowLoopback, Timeout: fetchTime / 4}
	web := http.Client{
		Transport: &http.Transport{
			DialContext: host.DialContext, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.o.Roots},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // §3.3: none is followed
	}
	resp, err := web.Do(req)
	if err != nil {
		return Policy{}, unfetched(whyNot(err), err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		return Policy{}, unfetched("the policy host answered "+strconv.Itoa(resp.StatusCode), nil)
	}
	// What users may put onto a web server is no policy (§3.2).
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "text/plain" {
		return Policy{}, unfetched("the policy is not text/plain", nil)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPolicy+1))
	if err != nil {
		return Policy{}, unfetched(whyNot(err), err)
	}
	return ParsePolicy(body)
}

// whyNot says an error of HTTPS in a few words.
func whyNot(err error) string {
	var cert *tls.CertificateVerificationError
	var host x509.HostnameError
	var ours *mail.Error
	var ne net.Error
	switch {
	case errors.As(err, &host):
		return "the certificate of the policy host is for another name"
	case errors.As(err, &cert):
		return "the certificate of the policy host does not verify"
	case errors.As(err, &ours) && ours.Text != "":
		return ours.Text
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return "the policy host does not answer in time"
	}
	return "the policy host cannot be reached by HTTPS"
}

func unfetched(why string, err error) error {
	return &mail.Error{Op: "mtasts.fetch", Kind: mail.Unavailable, Text: "the policy cannot be fetched: " + why, Err: err}
}
