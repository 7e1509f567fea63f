// Package admin is the management API, HTTP and JSON: what the control socket serves and the command line speaks.
// Handlers translate; the rules live in the rooms below. A list is answered as one object a line.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"syscall"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/mta"
	"postel/internal/observe"
	"postel/internal/queue"
	"postel/internal/store"
	"postel/internal/tlspolicy/tlsrpt"
	"postel/internal/transfer"
)

// Accounts manages who exists. app gives it, since an account is rows of the directory and of the store at once.
type Accounts interface {
	Domains(ctx context.Context) ([]directory.Domain, error)
	AddDomain(ctx context.Context, d directory.Domain) error
	RemoveDomain(ctx context.Context, d mail.Domain) error
	// DomainUsage gives a domain and what its accounts hold together: octets and messages.
	DomainUsage(ctx context.Context, d mail.Domain) (dom directory.Domain, octets, messages int64, err error)
	SetDomainLimits(ctx context.Context, d mail.Domain, octets, messages int64) error
	SetQuota(ctx context.Context, a mail.Address, octets int64) error
	Accounts(ctx context.Context) iter.Seq2[directory.Account, error]
	AccountOf(ctx context.Context, a mail.Address) (directory.Account, error)
	AddAccount(ctx context.Context, a mail.Address, password string, quota int64) (directory.Account, error)
	RemoveAccount(ctx context.Context, a mail.Address) error
	SetPassword(ctx context.Context, a mail.Address, password string) error
	// NewSecret makes a secret that is shared with the account, for uses as "odmr,pop3", and tells it; Kind Invalid for
	// a use that is none.
	NewSecret(ctx context.Context, a mail.Address, uses string) (string, error)
	RemoveSecret(ctx context.Context, a mail.Address) error
	SetDisabled(ctx context.Context, a mail.Address, disabled bool) error
	AllowSendAs(ctx context.Context, a, as mail.Address, allow bool) error
	SetBulk(ctx context.Context, a mail.Address, bulk, verp bool) error
	Suppressions(ctx context.Context) iter.Seq2[directory.Suppression, error]
	Suppress(ctx context.Context, s directory.Suppression) error
	Unsuppress(ctx context.Context, a mail.Address) error
	Routes(ctx context.Context) ([]Route, error)
	// AddRoute gives the route as it is kept; Kinds Invalid, Exists.
	AddRoute(ctx context.Context, r directory.Route, replace bool) (directory.Route, error)
	RemoveRoute(ctx context.Context, d mail.Domain, sender string) error
	AddAlias(ctx context.Context, a mail.Address, to []mail.Address) error
	RemoveAlias(ctx context.Context, a mail.Address) error
	Aliases(ctx context.Context) iter.Seq2[Alias, error]
	Resolve(ctx context.Context, a mail.Address) ([]mail.Address, error)
}

// Alias is an address that leads to others.
type Alias struct {
	Address mail.Address
	To      []mail.Address
}

// Router says where mail goes; *mta.MTA is one.
type Router interface {
	Ways(ctx context.Context, a, from mail.Address) []mta.Way
	Way(ctx context.Context, it *queue.Item) mta.Way
	CheckVia(ctx context.Context, via string) (string, error)
}

// Options is what the API manages. Queue and Router may be nil where no server runs; Glass and Journey too.
type Options struct {
	Accounts Accounts
	Store    *store.Store
	Queue    *queue.Queue
	Router   Router
	Glass    *observe.Glass
	Journey  *observe.Journey
	Check    Checker
	Upgrade  Upgrader
	Backups  Backups
	TLS      *tlsrpt.Reporter
	// ReportsTo is the local part of the addresses that reports on TLS come to.
	ReportsTo string
	Catcher   mail.AccountID // whose INBOX `inbox` reads; 0 when nothing is caught
	Version   string
	Ports     map[string]int // of the running listeners by name
	Log       *slog.Logger
}

// What bounds a request, in octets: one of JSON, and a stream of mail.
const (
	maxBody   = 1 << 20
	maxStream = transfer.MaxMessage + 64<<20
)

// api holds the handlers.
type api struct{ Options }

// route is one row of the API.
type route struct {
	pattern string
	handle  func(a *api, w http.ResponseWriter, r *http.Request) error
}

func routes() []route {
	return []route{
		{"GET /v1/version", (*api).version},
		{"GET /v1/domains", (*api).listDomains},
		{"POST /v1/domains", (*api).addDomain},
		{"DELETE /v1/domains/{name}", (*api).removeDomain},
		{"GET /v1/domains/{name}/quota", (*api).showDomainQuota},
		{"PUT /v1/domains/{name}/quota", (*api).setDomainQuota},
		{"GET /v1/accounts", (*api).listAccounts},
		{"POST /v1/accounts", (*api).addAccount},
		{"DELETE /v1/accounts/{address}", (*api).removeAccount},
		{"PUT /v1/accounts/{address}/password", (*api).setPassword},
		{"POST /v1/accounts/{address}/secret", (*api).newSecret},
		{"DELETE /v1/accounts/{address}/secret", (*api).removeSecret},
		{"PUT /v1/accounts/{address}/disabled", (*api).disable},
		{"DELETE /v1/accounts/{address}/disabled", (*api).disable},
		{"PUT /v1/accounts/{address}/sendas/{as}", (*api).allowSendAs},
		{"DELETE /v1/accounts/{address}/sendas/{as}", (*api).allowSendAs},
		{"GET /v1/accounts/{address}/expunged", (*api).listExpunged},
		{"DELETE /v1/accounts/{address}/expunged", (*api).purgeExpunged},
		{"POST /v1/accounts/{address}/undelete", (*api).undelete},
		{"GET /v1/accounts/{address}/quota", (*api).showQuota},
		{"PUT /v1/accounts/{address}/quota", (*api).setQuota},
		{"GET /v1/accounts/{address}/imported", (*api).importKeys},
		{"POST /v1/accounts/{address}/subscriptions", (*api).subscribe},
		{"GET /v1/accounts/{address}/export", (*api).exportMail},
		{"GET /v1/aliases", (*api).listAliases},
		{"POST /v1/aliases", (*api).addAlias},
		{"DELETE /v1/aliases/{address}", (*api).removeAlias},
		{"GET /v1/aliases/{address}/resolve", (*api).resolveAlias},
		{"PUT /v1/accounts/{address}/bulk", (*api).setBulk},
		{"GET /v1/routes", (*api).listRoutes},
		{"POST /v1/routes", (*api).addRoute},
		{"DELETE /v1/routes", (*api).removeRoute},
		{"GET /v1/suppressions", (*api).listSuppressions},
		{"POST /v1/suppressions", (*api).addSuppression},
		{"DELETE /v1/suppressions/{address}", (*api).removeSuppression},
		{"GET /v1/queue", (*api).listQueue},
		{"GET /v1/queue/count", (*api).countQueue},
		{"GET /v1/queue/ended", (*api).listEnded},
		{"GET /v1/queue/ended/count", (*api).countEnded},
		{"POST /v1/queue/all/{verb}", (*api).changeMany},
		{"GET /v1/queue/route/{address}", (*api).routeQueue},
		{"GET /v1/queue/{id}", (*api).showQueue},
		{"POST /v1/queue/{id}/{verb}", (*api).changeQueue},
		{"GET /v1/inbox", (*api).listInbox},
		{"GET /v1/inbox/{id}", (*api).showInbox},
		{"GET /v1/tlsrpt", (*api).listTLSReports},
		{"GET /v1/tlsrpt/received", (*api).listReceived},
		{"POST /v1/tlsrpt/send", (*api).sendTLSReports},
		{"GET /v1/tlsrpt/{day}/{domain}", (*api).showTLSReport},
		{"GET /v1/glass", (*api).listGlass},
		{"GET /v1/glass/tail", (*api).tailGlass},
		{"GET /v1/glass/{id}", (*api).showGlass},
		{"GET /v1/journey/{id}", (*api).showJourney},
		{"GET /v1/why/{id}", (*api).why},
		{"POST /v1/check", (*api).check},
		{"POST /v1/upgrade/dry-run", (*api).upgradeDryRun},
	}
}

// streams are the routes whose requests are streams of mail, bounded by maxStream alone.
func streams() []route {
	return []route{
		{"POST /v1/accounts/{address}/import", (*api).importMail},
	}
}

// Handler serves the API.
func Handler(o Options) http.Handler {
	a := &api{o}
	mux := http.NewServeMux()
	a.serve(mux, routes(), maxBody)
	a.serve(mux, streams(), maxStream)
	a.serve(mux, archives(), maxArchive)
	return mux
}

func (a *api) serve(mux *http.ServeMux, routes []route, body int64) {
	for _, r := range routes {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) {
			req.Body = http.MaxBytesReader(w, req.Body, body)
			if err := r.handle(a, w, req); err != nil {
				a.fail(w, req, err)
			}
		})
	}
}

// fail answers an error: what it is for the public, the cause to the log.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := statusOf(err), mail.KindOf(err).String()
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		text = e.Text
	}
	if status == http.StatusInternalServerError {
		a.Log.ErrorContext(r.Context(), "admin", "path", r.URL.Path, "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text})
}

// statusOf maps Kinds to HTTP.
func statusOf(err error) int {
	switch mail.KindOf(err) {
	case mail.Invalid, mail.Rejected, mail.Unsupported, mail.TooLarge:
		return http.StatusBadRequest
	case mail.NotFound:
		return http.StatusNotFound
	case mail.Exists, mail.Busy:
		return http.StatusConflict
	case mail.Denied, mail.AuthRequired, mail.AuthFailed, mail.NeedTLS, mail.OverQuota, mail.TooMany, mail.Loop:
		return http.StatusForbidden
	case mail.Unavailable, mail.Canceled:
		return http.StatusServiceUnavailable
	case mail.Full:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// Running is what a server says of itself.
type Running struct {
	Version string         `json:"version"`
	Ports   map[string]int `json:"ports"` // of its listeners on TCP
}

func (a *api) version(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, Running{a.Version, a.Ports})
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client went away: nothing to tell it
	return nil
}

// read decodes the request, unknown fields being mistakes.
func read(r *http.Request, v any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return mail.E("admin.read", mail.Invalid, "not the JSON that is wanted: %v", err)
	}
	return nil
}

// lines answers a list, one object a line. An error before the first object is the answer.
func lines[T, V any](w http.ResponseWriter, list iter.Seq2[T, error], show func(T) V) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	first := true
	for v, err := range list {
		if err != nil {
			if first {
				return err
			}
			panic(http.ErrAbortHandler) // net/http's own way to cut an answer off, so that it is not taken for whole
		}
		first = false
		if enc.Encode(show(v)) != nil {
			return nil
		}
	}
	return nil
}

// cut ends an answer that has begun, so that it is not taken for whole.
func (a *api) cut(r *http.Request, err error) error {
	if err != nil {
		if !errors.Is(err, syscall.EPIPE) && r.Context().Err() == nil { // else the client went away
			a.Log.ErrorContext(r.Context(), "admin", "path", r.URL.Path, "err", err)
		}
		panic(http.ErrAbortHandler) // net/http's own way
	}
	return nil
}

// each makes a list of a slice.
func each[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}
