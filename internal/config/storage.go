package config

import (
	"fmt"
	"net/url"
	"strings"
)

// IsDatabase tells a storage URL of a database from "embedded" and "memory".
func IsDatabase(storage string) bool {
	return strings.HasPrefix(storage, "postgres://") || strings.HasPrefix(storage, "postgresql://")
}

// ParseStorage checks where mail is kept: "embedded", "memory", or the URL of a PostgreSQL database.
func ParseStorage(v string) (string, error) {
	if v == "embedded" || v == "memory" {
		return v, nil
	}
	if u, err := url.Parse(v); err == nil && IsDatabase(v) && u.Path != "" {
		return v, nil
	}
	return "", fmt.Errorf("want embedded, memory or postgres://USER@HOST/DATABASE") // and not v, which may hold a password
}

// storage takes what ParseStorage does, also from the environment or a file.
func storage(p *string) func(string) error {
	return func(v string) (err error) {
		if strings.HasPrefix(v, "env:") || strings.HasPrefix(v, "file:") {
			if err := secret(&v)(v); err != nil {
				return err
			}
		}
		v, err = ParseStorage(v)
		if err == nil {
			*p = v
		}
		return err
	}
}

// showStorage hides the password.
func showStorage(p *string) func() string {
	return func() string {
		u, err := url.Parse(*p)
		if err != nil || !IsDatabase(*p) {
			return *p
		}
		q := u.Query()
		if q.Has("password") {
			q.Set("password", "xxxxx")
			u.RawQuery = q.Encode()
		}
		return u.Redacted()
	}
}

// ParseDatabase reads the URL of a database, or what env:NAME or file:PATH hold of one, and gives it also without its
// password.
func ParseDatabase(v string) (url, shown string, err error) {
	err = storage(&url)(v)
	if err == nil && !IsDatabase(url) {
		err = fmt.Errorf("want postgres://USER@HOST/DATABASE")
	}
	return url, showStorage(&url)(), err
}
