package directory

import (
	"context"
	"net/netip"

	"postel/internal/mail"
)

// Postmaster gives the address to look up for one that was named to us: the bare Postmaster and the postmaster at
// our host name, or at the address the client called (RFC 5321 §4.5.1), are the host's postmaster when the host
// name is a domain of ours, else the bare one, for whom Lookup always finds somebody. Others are given back.
func Postmaster(ctx context.Context, d Directory, host mail.Domain, called netip.Addr, a mail.Address) (mail.Address, error) {
	if a.Fold().Local != "postmaster" {
		return a, nil
	}
	ip, literal := a.Domain.Literal()
	if a.Domain != "" && a.Domain != host && (!literal || ip != called.Unmap()) {
		return a, nil
	}
	a.Domain = host
	_, err := d.Domain(ctx, host)
	if mail.Is(err, mail.NotFound) {
		a.Domain, err = "", nil
	}
	return a, err
}
