package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"postel/internal/mail"
)

// What bounds the reading of keys.
const (
	readTime  = 10 * time.Second
	readLimit = 1 << 20
	maxKeys   = 100

	readAgain = time.Hour        // so that keys which are taken back are forgotten
	readPause = 10 * time.Second // between two reads at least
	goodFor   = 24 * time.Hour   // while they cannot be read again
)

// keySet is the issuer's keys as they were last read.
type keySet struct {
	where  string
	client *http.Client
	clock  func() time.Time

	turn  chan struct{} // who has it may read anew, and touch what follows
	mu    sync.Mutex    // for keys and read, which those without the turn look at too
	keys  []jose.JSONWebKey
	read  time.Time // of keys
	tried time.Time // the last read, whatever came of it
	err   error     // of the last read
}

// named gives the keys that a token may be signed by: the one with its id, or all for a token that names none. Kinds:
// AuthFailed when there is none, Unavailable while that cannot be known.
func (k *keySet) named(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	// A stranger's token with a name that nobody knows has an issuer asked who may be slow: others do not wait for that.
	found, age := k.find(id)
	if asked := len(k.turn) > 0; len(found) > 0 && (age < readAgain || asked && age < goodFor) {
		return found, nil
	}
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, &mail.Error{Op: "oauth.keys", Kind: mail.Unavailable, Err: ctx.Err()}
	}
	now := k.clock()
	found, age = k.find(id)
	if (len(found) == 0 || age >= readAgain) && (k.tried.IsZero() || now.Sub(k.tried) >= readPause) {
		k.refresh(ctx, now)
		found, age = k.find(id)
	}
	switch {
	case len(found) > 0 && age < goodFor:
		return found, nil
	case k.err != nil || k.read.IsZero() || age >= goodFor:
		return nil, &mail.Error{
			Op: "oauth.keys", Kind: mail.Unavailable, Code: mail.Enhanced{4, 7, 0},
			Text: "the keys of the tokens' issuer cannot be read", Err: k.err,
		}
	}
	return nil, mail.E("oauth.keys", mail.AuthFailed, "the issuer has no such key")
}

// find gives the keys that id names, and how long ago all were read.
func (k *keySet) find(id string) (out []jose.JSONWebKey, age time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.keys {
		if id == "" || key.KeyID == id {
			out = append(out, key)
		}
	}
	return out, k.clock().Sub(k.read)
}

// refresh reads the keys; it does not end with the session that asked for it, since others wait for them too.
func (k *keySet) refresh(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTime)
	defer cancel()
	k.tried = now
	keys, err := k.load(ctx)
	if k.err = err; err == nil {
		k.mu.Lock()
		k.keys, k.read = keys, now
		k.mu.Unlock()
	}
}

func (k *keySet) load(ctx context.Context) ([]jose.JSONWebKey, error) {
	open := k.fetch
	if strings.HasPrefix(k.where, "/") {
		open = func(context.Context) (io.ReadCloser, error) { return os.Open(k.where) }
	}
	r, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	text, err := io.ReadAll(io.LimitReader(r, readLimit+1))
	if err != nil {
		return nil, err
	}
	if len(text) > readLimit {
		return nil, mail.E("oauth.keys", mail.TooLarge, "the key set is larger than %d octets", readLimit)
	}
	return parseKeys(text)
}

// parseKeys reads a JSON Web Key Set. Keys that are not for signatures, or that we cannot use, are passed over
// (RFC 7517 §5).
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, mail.E("oauth.keys", mail.TooLarge, "the key set has more than %d keys", maxKeys)
	}
	var out []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		out = append(out, key)
	}
	if len(out) == 0 {
		return nil, errors.New("the key set has no public key for signatures")
	}
	return out, nil
}

func (k *keySet) fetch(ctx context.Context) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.where, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, errors.New("the issuer answers " + resp.Status)
	}
	return resp.Body, nil
}

// newClient gives a client that keeps no connections and follows few redirects, none from https to http.
func newClient() *http.Client {
	return &http.Client{
		Timeout:   readTime,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > 3 || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return errors.New("the issuer leads elsewhere")
			}
			return nil
		},
	}
}
