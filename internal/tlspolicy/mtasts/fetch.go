package mtasts

import (
	"context"
	"io"
	"mime"
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
	resp, err := host.Web(c.o.Roots).Do(req) // no redirect is followed (§3.3)
	if err != nil {
		return Policy{}, unfetched(dns.WebError(err, "the policy host"), err)
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
		return Policy{}, unfetched(dns.WebError(err, "the policy host"), err)
	}
	return ParsePolicy(body)
}

func unfetched(why string, err error) error {
	return &mail.Error{Op: "mtasts.fetch", Kind: mail.Unavailable, Text: "the policy cannot be fetched: " + why, Err: err}
}
