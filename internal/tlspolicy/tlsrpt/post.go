package tlsrpt

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
)

// postTime bounds the sending of a report to one address, all of it.
const postTime = time.Minute

// post hands a report to an address (RFC 8460 §5.4): a certificate must verify for its host, no proxy is used, and no
// redirect is followed. The error has Kind Unavailable, and says why.
func (r *Reporter) post(ctx context.Context, address string, rep *Report) error {
	var body bytes.Buffer
	if err := rep.Write(&body); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, &body)
	if err != nil {
		return unsent("its address makes no sense", err)
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	req.Header.Set("User-Agent", "Postel")
	host := dns.Dialer{
		Resolver: r.o.Resolver, Dial: r.o.Dial, Loopback: r.o.AllowLoopback, Outside: !r.o.AllowLoopback, Timeout: postTime / 4,
	}
	resp, err := host.Web(r.o.Roots).Do(req)
	if err != nil {
		return unsent(dns.WebError(err, "the host"), err)
	}
	_ = resp.Body.Close() // nothing in it is of interest
	if resp.StatusCode/100 != 2 {
		return unsent(req.URL.Hostname()+" answered "+strconv.Itoa(resp.StatusCode), nil)
	}
	return nil
}

func unsent(why string, err error) error {
	return &mail.Error{Op: "tlsrpt.post", Kind: mail.Unavailable, Text: why, Err: err}
}
