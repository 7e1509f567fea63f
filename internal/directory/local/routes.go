package local

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// maxRoutes bounds the routes that are kept.
const maxRoutes = 10_000

// routeKey is that of a route: its domain and its sender.
func routeKey(d mail.Domain, sender string) kv.Key {
	return kv.K(kv.Routes).Text(string(d) + "\x00" + sender)
}

// routeOf gives what a key of rt names.
func routeOf(k kv.Key) (d mail.Domain, sender string) {
	domain, sender, _ := strings.Cut(string(k[2:]), "\x00")
	return mail.Domain(domain), sender
}

// A row of rt is the version and the route as JSON, without what its key says.
func encodeRoute(r directory.Route) ([]byte, error) {
	r.Domain, r.Sender = "", ""
	text, err := json.Marshal(r)
	return append([]byte{format}, text...), err
}

func decodeRoute(k kv.Key, v []byte) (r directory.Route, err error) {
	b, err := body("rt", v, 2)
	if err == nil && json.Unmarshal(b, &r) != nil {
		err = damaged("rt")
	}
	r.Domain, r.Sender = routeOf(k)
	return r, err
}

// Routes gives the routes that are kept, by domain and sender.
func (d *Directory) Routes(ctx context.Context) (list []directory.Route, err error) {
	err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		list = nil
		from := kv.K(kv.Routes)
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{Limit: maxRoutes}) {
			if err != nil {
				return err
			}
			one, err := decodeRoute(slices.Clone(row.Key), row.Value)
			if err != nil {
				return err
			}
			list = append(list, one)
		}
		return nil
	})
	return list, mail.Wrap("directory.routes", err)
}

// AddRoute keeps a route, in place of the one for the same domain and sender where replace says so. Kinds: Exists, TooMany.
func (d *Directory) AddRoute(ctx context.Context, r directory.Route, replace bool) error {
	k := routeKey(r.Domain, r.Sender)
	v, err := encodeRoute(r)
	if err != nil || len(k) > kv.MaxKey {
		return mail.E("directory.route", mail.Invalid, "the route cannot be kept")
	}
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{k}}, func(tx kv.Tx) error {
		_, err := tx.Get(k)
		switch {
		case err == nil && !replace:
			return mail.E("directory.route", mail.Exists, "there is a route for that")
		case err != nil && !mail.Is(err, mail.NotFound):
			return err
		}
		n := 0
		from := kv.K(kv.Routes)
		for _, err := range tx.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true, Limit: maxRoutes}) {
			if err != nil {
				return err
			}
			n++
		}
		if n == maxRoutes {
			return mail.E("directory.route", mail.TooMany, "no more than %d routes", maxRoutes)
		}
		tx.Set(k, v)
		return nil
	})
}

// RemoveRoute removes a route; Kind NotFound.
func (d *Directory) RemoveRoute(ctx context.Context, domain mail.Domain, sender string) error {
	k := routeKey(domain, sender)
	if len(k) > kv.MaxKey {
		return mail.E("directory.route", mail.NotFound, "there is no such route")
	}
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{k}, Frees: true}, func(tx kv.Tx) error {
		_, err := tx.Get(k)
		if mail.Is(err, mail.NotFound) {
			return mail.E("directory.route", mail.NotFound, "there is no such route")
		}
		if err == nil {
			tx.Delete(k)
		}
		return err
	})
}

func (v *verifier) readRoutes(r kv.Reader) error {
	return v.scan(r, kv.Routes, func(k kv.Key, b []byte) {
		if _, err := decodeRoute(slices.Clone(k), b); err != nil {
			v.rt = append(v.rt, slices.Clone(k))
		}
	})
}

// routes looks at the rows rt. A damaged one is removed: while it is there no route is known.
func (v *verifier) routes(ctx context.Context) error {
	for _, k := range v.rt {
		domain, sender := routeOf(k)
		text := strings.TrimSuffix("the row of a route is damaged: "+string(domain)+" from "+sender, " from ")
		f := mail.Finding{Text: text, Lost: "the route: add it again"}
		err := v.fix(ctx, f, 0, func(tx kv.Tx) error {
			if b, err := tx.Get(k); err == nil {
				if _, err := decodeRoute(k, b); err != nil {
					tx.Delete(k)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
