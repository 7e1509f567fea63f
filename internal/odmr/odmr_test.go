package odmr

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// domains is a directory of three customers' domains.
type domains struct{ broken error }

func (d domains) Domains(context.Context) ([]directory.Domain, error) {
	bob, eve := mail.Address{Local: "bob", Domain: "postel.test"}, mail.Address{Local: "eve", Domain: "postel.test"}
	return []directory.Domain{
		{Name: "both.test", ODMR: []mail.Address{eve, bob}},
		{Name: "bob.test", ODMR: []mail.Address{bob}},
		{Name: "eve.test", ODMR: []mail.Address{eve}},
		{Name: "postel.test"},
	}, d.broken
}

func (d domains) Domain(ctx context.Context, name mail.Domain) (directory.Domain, error) {
	all, err := d.Domains(ctx)
	for _, one := range all {
		if one.Name == name {
			return one, err
		}
	}
	return directory.Domain{}, mail.E("test", mail.NotFound, "not ours")
}

// One domain that is not the customer's makes the whole refused; none named is all of them (RFC 2645 §5.2.1).
func TestTheirs(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		login string
		ask   []mail.Domain
		want  string // "" is refused
	}{
		{"bob@postel.test", nil, "[both.test bob.test]"},
		{"Bob@postel.test", []mail.Domain{"bob.test"}, "[bob.test]"},
		{"bob@postel.test", []mail.Domain{"both.test", "bob.test"}, "[both.test bob.test]"},
		{"bob@postel.test", []mail.Domain{"bob.test", "eve.test"}, ""},
		{"bob@postel.test", []mail.Domain{"bob.test", "elsewhere.test"}, ""},
		{"bob@postel.test", []mail.Domain{"postel.test"}, ""},
		{"alice@postel.test", nil, ""},
		{"", nil, ""},
		{"", []mail.Domain{"bob.test"}, ""},
	} {
		got, err := New(Options{Directory: domains{}}).theirs(t.Context(), smtp.Peer{Login: x.login}, x.ask)
		if (err == nil) != (x.want != "") || err != nil && !mail.Is(err, mail.Denied) || err == nil && fmt.Sprint(got) != x.want {
			t.Errorf("%q of %v: %v, %v", x.login, x.ask, got, err)
		}
	}
	down := errors.New("down")
	for _, ask := range [][]mail.Domain{nil, {"bob.test"}} {
		if _, err := New(Options{Directory: domains{down}}).theirs(t.Context(), smtp.Peer{Login: "bob@postel.test"}, ask); !errors.Is(err, down) {
			t.Error(err)
		}
	}
	if _, err := New(Options{Directory: domains{}}).Turn(t.Context(), smtp.Peer{Login: "bob@postel.test", Anyone: true}, nil); !mail.Is(err, mail.Denied) {
		t.Error("any password opens the catcher's account, and nobody's mail:", err)
	}
}

func TestCustomer(t *testing.T) {
	t.Parallel()
	for helo, want := range map[string]string{"Mail.Customer.test": "mail.customer.test", "[192.0.2.1]": "192.0.2.9", "a b": "192.0.2.9", "": "192.0.2.9"} {
		if got := customer(smtp.Peer{Helo: helo, Remote: netip.MustParseAddrPort("192.0.2.9:1")}); got != want {
			t.Errorf("%q: %q", helo, got)
		}
	}
}
