package directory

import (
	"context"

	"postel/internal/mail"
)

// Limits of the expansion of aliases.
const (
	MaxDepth   = 10   // aliases of aliases
	MaxTargets = 1000 // addresses that one address leads to, those on the way included
)

// Resolution is where an address leads in the end. An account or remote address is named once.
type Resolution struct {
	Accounts []Place
	Remote   []mail.Address // not ours, or of a domain of kind Relay; as the alias has them
	Broken   []mail.Address // addresses of ours on the way that lead nowhere
}

// Place is an account that an address leads to.
type Place struct {
	Account mail.AccountID
	Detail  string       // of the subaddress by which it was named
	Address mail.Address // by which it was named
}

// Resolve expands aliases until only accounts and remote addresses are left. Loops end where they close. Kinds:
// NotFound when a is ours and nothing is left of it, Loop beyond MaxDepth or when a leads only to itself,
// TooMany beyond MaxTargets. What is remote is taken for good: Resolve asks for no domain but ours.
func Resolve(ctx context.Context, d Directory, a mail.Address) (Resolution, error) {
	x := expansion{d: d, seen: map[mail.Address]bool{a.Fold(): true}, have: map[mail.AccountID]bool{}}
	level := []mail.Address{a}
	for depth := 0; len(level) > 0; depth++ {
		if depth > MaxDepth {
			return Resolution{}, mail.E("directory.resolve", mail.Loop, "aliases lead through too many others")
		}
		var next []mail.Address
		for _, at := range level {
			more, err := x.step(ctx, at)
			if err != nil {
				return Resolution{}, err
			}
			next = append(next, more...)
		}
		level = next
	}
	if len(x.out.Accounts)+len(x.out.Remote) > 0 {
		return x.out, nil
	}
	if len(x.out.Broken) > 0 {
		return x.out, &mail.Error{Op: "directory.resolve", Kind: mail.NotFound, Code: mail.Enhanced{5, 1, 1}}
	}
	return x.out, mail.E("directory.resolve", mail.Loop, "the alias leads only to itself")
}

type expansion struct {
	d    Directory
	seen map[mail.Address]bool
	have map[mail.AccountID]bool
	out  Resolution
}

// step looks one address up and gives the addresses behind it that were not seen yet.
func (x *expansion) step(ctx context.Context, a mail.Address) ([]mail.Address, error) {
	t, err := x.d.Lookup(ctx, a)
	switch {
	case mail.Is(err, mail.NotFound):
		return nil, x.missing(ctx, a)
	case err != nil:
		return nil, err
	case t.Relay:
		x.out.Remote = append(x.out.Remote, a)
	case t.Account != 0:
		if !x.have[t.Account] {
			x.have[t.Account] = true
			x.out.Accounts = append(x.out.Accounts, Place{t.Account, t.Detail, a})
		}
	}
	var next []mail.Address
	for _, to := range t.Alias {
		if x.seen[to.Fold()] {
			continue
		}
		if len(x.seen) >= MaxTargets {
			return nil, mail.E("directory.resolve", mail.TooMany, "the alias leads to too many addresses")
		}
		x.seen[to.Fold()] = true
		next = append(next, to)
	}
	return next, nil
}

// missing files an address that Lookup does not know: as remote, or as broken when its domain is ours.
func (x *expansion) missing(ctx context.Context, a mail.Address) error {
	_, err := x.d.Domain(ctx, a.Domain)
	switch {
	case mail.Is(err, mail.NotFound):
		x.out.Remote = append(x.out.Remote, a)
	case err != nil:
		return err
	default:
		x.out.Broken = append(x.out.Broken, a)
	}
	return nil
}
