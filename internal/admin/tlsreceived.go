package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/store"
	"postel/internal/tlspolicy/tlsrpt"
)

// TLSReceived is a report on TLS that came by mail, as JSON. Who sent it is not verified.
type TLSReceived struct {
	Message   string         `json:"message"` // m-…
	Account   string         `json:"account"` // where it lies
	Mailbox   string         `json:"mailbox"`
	Received  time.Time      `json:"received"`
	From      string         `json:"from"`
	Fault     string         `json:"fault,omitempty"` // why it cannot be read
	Reporter  string         `json:"reporter,omitempty"`
	Domains   []mail.Domain  `json:"domains,omitempty"` // that it is about
	Start     time.Time      `json:"start,omitzero"`
	End       time.Time      `json:"end,omitzero"`
	Successes int64          `json:"successes"`
	Failures  int64          `json:"failures"`
	Report    *tlsrpt.Report `json:"report,omitempty"` // only where one is shown
}

// Bounds of a look through mailboxes for reports.
const (
	maxLooked   = 20_000 // messages of one mailbox, the newest
	maxReceived = 1_000  // reports
)

// listReceived answers the reports that came to an address, or to the one that is for them of each domain of ours; the
// newest of each mailbox first. One that came twice (RFC 8460 §5.3) is told once.
func (a *api) listReceived(w http.ResponseWriter, r *http.Request) error {
	accounts, err := a.reportAccounts(r)
	if err != nil {
		return err
	}
	return lines(w, func(yield func(TLSReceived, error) bool) {
		seek := &seeker{a: a, ctx: r.Context(), message: r.URL.Query().Get("message"), seen: map[[2]string]bool{}, yield: yield}
		for _, acc := range accounts {
			if err := seek.account(acc); err != nil {
				yield(TLSReceived{}, err)
				return
			}
		}
	}, func(t TLSReceived) TLSReceived { return t })
}

// reportAccounts gives the accounts to which reports come.
func (a *api) reportAccounts(r *http.Request) (all []directory.Account, err error) {
	var to []mail.Address
	given := true
	if s := r.URL.Query().Get("address"); s != "" {
		one, err := mail.ParseAddress(s)
		if err != nil {
			return nil, err
		}
		to = append(to, one)
	} else {
		given = false
		domains, err := a.Accounts.Domains(r.Context())
		if err != nil {
			return nil, err
		}
		for _, d := range domains {
			to = append(to, mail.Address{Local: a.ReportsTo, Domain: d.Name})
		}
	}
	for _, addr := range to {
		ends, err := a.Accounts.Resolve(r.Context(), addr)
		if mail.Is(err, mail.NotFound) && !given {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, end := range ends {
			acc, err := a.Accounts.AccountOf(r.Context(), end)
			if err == nil && !slices.ContainsFunc(all, func(have directory.Account) bool { return have.ID == acc.ID }) {
				all = append(all, acc)
			}
		}
	}
	if len(all) == 0 {
		return nil, mail.E("admin.tlsrpt", mail.NotFound, "no mailbox of ours is behind %s: `postel alias add` makes one", where(to))
	}
	return all, nil
}

// where names addresses.
func where(to []mail.Address) string {
	names := make([]string, len(to))
	for i, a := range to {
		names[i] = a.String()
	}
	return strings.Join(names, ", ")
}

// seeker looks for reports.
type seeker struct {
	a       *api
	ctx     context.Context
	message string             // the one that is wanted whole; "" is all, without the reports themselves
	seen    map[[2]string]bool // by who reports and the report's id
	yield   func(TLSReceived, error) bool
	gone    bool // nobody listens any more
}

// account looks through an account's mailboxes, but for what was thrown away.
func (s *seeker) account(acc directory.Account) error {
	boxes, err := s.a.Store.Mailboxes(s.ctx, acc.ID)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if b.Role == store.RoleTrash || b.Role == store.RoleJunk || s.gone {
			continue
		}
		if err := s.mailbox(acc, b); err != nil && !mail.Is(err, mail.NotFound) { // removed meanwhile
			return err
		}
	}
	return nil
}

func (s *seeker) mailbox(acc directory.Account, b store.Mailbox) error {
	v, err := s.a.Store.Open(s.ctx, acc.ID, b.ID, true)
	if err != nil {
		return err
	}
	defer v.Close()
	snap, err := v.Latest(s.ctx)
	if err != nil {
		return err
	}
	var page []store.EmailID
	for seq := snap.Len(); seq > max(0, snap.Len()-maxLooked) && !s.gone; seq-- {
		if page = append(page, snap.At(seq).Email); len(page) < inboxPage && seq > 1 {
			continue
		}
		if err := s.page(acc, b, page); err != nil {
			return err
		}
		page = page[:0]
	}
	return s.page(acc, b, page)
}

// page tells the reports among some emails.
func (s *seeker) page(acc directory.Account, b store.Mailbox, ids []store.EmailID) error {
	var reports []store.EmailID
	err := s.a.Store.EachTop(s.ctx, acc.ID, ids, func(_ int, e *store.Email) error {
		if e == nil || e.Root == nil || e.Root.Summary == nil {
			return nil
		}
		h, _ := message.ParseHeader(string(e.Root.Summary.Fields))
		if tlsrpt.IsReport(h.Get("Content-Type")) && (s.message == "" || s.message == "m-"+e.Blob.String()) {
			reports = append(reports, e.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.a.Store.EachEmail(s.ctx, acc.ID, reports, func(_ int, e *store.Email) error {
		if e == nil || s.gone {
			return nil
		}
		return s.tell(acc, b, e)
	})
}

func (s *seeker) tell(acc directory.Account, b store.Mailbox, e *store.Email) error {
	out := TLSReceived{Message: "m-" + e.Blob.String(), Account: acc.Address.String(), Mailbox: b.Name, Received: e.InternalDate.UTC()}
	if sum := e.Root.Summary; sum != nil {
		h, _ := message.ParseHeader(string(sum.Fields))
		out.From = h.Text("From")
	}
	rep, err := s.read(e)
	switch {
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case err != nil:
		out.Fault = said(err)
	case s.seen[[2]string{rep.Organization, rep.ID}]:
		return nil
	default:
		s.seen[[2]string{rep.Organization, rep.ID}] = true
		out.of(rep)
		if s.message != "" {
			out.Report = rep
		}
	}
	s.gone = !s.yield(out, nil) || len(s.seen) >= maxReceived
	return nil
}

// read reads the report that an email brings.
func (s *seeker) read(e *store.Email) (*tlsrpt.Report, error) {
	part := tlsrpt.PartOf(e.Root)
	if part == nil {
		return nil, mail.E("admin.tlsrpt", mail.NotFound, "no report on TLS is in it")
	}
	body, err := s.a.Store.OpenBody(s.ctx, e, part.BodyStart, part.Size())
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // only read
	return tlsrpt.ReadPart(part, body)
}

// of takes over what a report says in short.
func (t *TLSReceived) of(rep *tlsrpt.Report) {
	const maxDomains = 100
	sum := rep.Total()
	t.Reporter, t.Start, t.End, t.Successes, t.Failures = rep.Organization, rep.Range.Start, rep.Range.End, sum.Successes, sum.Failures
	for _, p := range rep.Policies {
		if len(t.Domains) < maxDomains && !slices.Contains(t.Domains, p.Policy.Domain) {
			t.Domains = append(t.Domains, p.Policy.Domain)
		}
	}
}
