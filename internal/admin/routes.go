package admin

import (
	"net/http"

	"postel/internal/directory"
	"postel/internal/mail"
)

// Route is a route as JSON.
type Route struct {
	directory.Route
	File    bool `json:"file,omitempty"`    // it stands in the configuration file, and stays there
	Replace bool `json:"replace,omitempty"` // asked for: in place of the one that is there
}

func (a *api) listRoutes(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Accounts.Routes(r.Context())
	if err != nil {
		return err
	}
	return lines(w, each(list), func(v Route) Route { return v })
}

// Bounds of a route, those of the configuration.
const (
	maxRate     = 1_000_000
	maxSessions = 10_000
)

func (a *api) addRoute(w http.ResponseWriter, r *http.Request) error {
	var in Route
	if err := read(r, &in); err != nil {
		return err
	}
	var err error
	if in.Domain, err = routeDomain(string(in.Domain)); err != nil {
		return err
	}
	if min(in.Rate, in.Sessions) < 0 || in.Rate > maxRate || in.Sessions > maxSessions || min(in.First, in.Max, in.Lifetime) < 0 || max(in.First, in.Max, in.Lifetime) > 10*365*86_400 {
		return mail.E("admin.route", mail.Invalid, "a bound of the route is out of range")
	}
	out, err := a.Accounts.AddRoute(r.Context(), in.Route, in.Replace)
	if err != nil {
		return err
	}
	return answer(w, Route{Route: out})
}

func (a *api) removeRoute(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	d, err := routeDomain(q.Get("domain"))
	if err == nil {
		err = a.Accounts.RemoveRoute(r.Context(), d, q.Get("sender"))
	}
	if err != nil {
		return err
	}
	return answer(w, map[string]string{"removed": string(d), "sender": q.Get("sender")})
}

// routeDomain reads the domain of a route; "" is all.
func routeDomain(s string) (mail.Domain, error) {
	if s == "" {
		return "", nil
	}
	return mail.ParseDomain(s)
}
