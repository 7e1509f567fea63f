package sasl

import (
	"bytes"
	"context"
)

// plainServer is PLAIN: one message, [authzid] NUL authcid NUL passwd (RFC 4616 §2).
type plainServer struct {
	auth  Authenticator
	asked bool
	over  bool
}

func (p *plainServer) Next(ctx context.Context, response []byte) ([]byte, bool, Identity, error) {
	if p.over {
		return nil, false, Identity{}, malformed("it is over")
	}
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, false, Identity{}, nil
	}
	p.over = true
	authzid, rest, ok := bytes.Cut(response, []byte{0})
	login, password, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 || bytes.IndexByte(password, 0) >= 0 || len(login) == 0 {
		return nil, false, Identity{}, malformed("PLAIN is [authzid] NUL login NUL password")
	}
	id, err := check(ctx, p.auth, string(authzid), string(login), string(password))
	return nil, err == nil, id, err
}

// check asks the Authenticator within the limits.
func check(ctx context.Context, auth Authenticator, authzid, login, password string) (Identity, error) {
	if len(authzid) > MaxName || len(login) > MaxName || len(password) > MaxPassword {
		return Identity{}, Failed()
	}
	id, err := auth.Password(ctx, authzid, login, password)
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

// loginServer is LOGIN: a prompt for the name, unless it came with the command, and one for the password.
type loginServer struct {
	auth  Authenticator
	login []byte
	step  int // 0 begins, 1 name asked for, 2 password asked for, 3 over
}

func (l *loginServer) Next(ctx context.Context, response []byte) ([]byte, bool, Identity, error) {
	switch {
	case l.step == 0 && response == nil:
		l.step = 1
		return []byte("Username:"), false, Identity{}, nil
	case l.step <= 1:
		l.step = 2
		if len(response) == 0 || len(response) > MaxName || bytes.IndexByte(response, 0) >= 0 {
			l.step = 3
			return nil, false, Identity{}, malformed("the user name")
		}
		l.login = bytes.Clone(response)
		return []byte("Password:"), false, Identity{}, nil
	case l.step == 2:
		l.step = 3
		if bytes.IndexByte(response, 0) >= 0 {
			return nil, false, Identity{}, malformed("the password")
		}
		id, err := check(ctx, l.auth, "", string(l.login), string(response))
		return nil, err == nil, id, err
	}
	return nil, false, Identity{}, malformed("it is over")
}
