package local

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// TestRoutes: what is added is read as it was, one route a domain and sender; an archive brings it back; a damaged row is
// found and mended.
func TestRoutes(t *testing.T) {
	t.Parallel()
	s, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d := open(t, Options{KV: kvtest.Strict(s, kvtest.Options{Report: t.Error})})
	ctx := t.Context()
	all := directory.Route{
		Domain: "b.test", Sender: "boss@a.test", Host: "smart.test", Port: 587, Proto: "smtp", TLS: "must",
		Source: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		User:   "me", Password: "file:/etc/pw", Rate: 60, Sessions: 2, First: 900, Max: 3600, Lifetime: 86_400,
	}
	least := directory.Route{Host: "unix:/run/lmtp", Proto: "lmtp", TLS: "never"}
	for _, r := range []directory.Route{all, least} {
		if err := d.AddRoute(ctx, r, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.AddRoute(ctx, all, false); !mail.Is(err, mail.Exists) {
		t.Error(err)
	}
	all.Port = 465
	if err := d.AddRoute(ctx, all, true); err != nil {
		t.Error(err)
	}
	got, err := d.Routes(ctx)
	if err != nil || !reflect.DeepEqual(got, []directory.Route{least, all}) {
		t.Errorf("%+v %v", got, err)
	}
	rows, err := d.ArchiveShared(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.RemoveRoute(ctx, "b.test", "boss@a.test"); err != nil {
		t.Error(err)
	}
	if err := d.RemoveRoute(ctx, "b.test", "boss@a.test"); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if n, err := d.RestoreShared(ctx, rows); n != 1 || err != nil {
		t.Error(n, err)
	}
	if again, err := d.Routes(ctx); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("%+v %v", again, err)
	}
	put := func(k kv.Key, v string) {
		t.Helper()
		if err := s.Update(ctx, kv.Txn{Lock: Locks()}, func(tx kv.Tx) error { tx.Set(k, []byte(v)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	put(routeKey("c.test", ""), "\x01{broken")
	if _, err := d.RestoreShared(ctx, []kv.Row{{Key: routeKey("d.test", ""), Value: []byte("\x09x")}}); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	for _, mend := range []bool{false, true} {
		found, err := d.Verify(ctx, mend, noMailboxes{})
		if err != nil || len(found) != 1 || !strings.Contains(found[0].Text, "the row of a route is damaged: c.test") {
			t.Errorf("%+v %v", found, err)
		}
	}
	if again, err := d.Routes(ctx); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("%+v %v", again, err)
	}
}

type noMailboxes struct{}

func (noMailboxes) HasAccount(kv.Reader, mail.AccountID) (bool, error) { return true, nil }
func (noMailboxes) InitAccount(kv.Tx, mail.AccountID) error            { return nil }
