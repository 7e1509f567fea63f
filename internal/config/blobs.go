package config

import (
	"fmt"
	"net/url"
	"strings"
)

// take reads a setting of storage.blobs, or of --blobs.
func (b *Blobs) take(v string) error {
	if strings.HasPrefix(v, "env:") || strings.HasPrefix(v, "file:") {
		if err := secret(&v)(v); err != nil {
			return err
		}
	}
	if u, err := url.Parse(v); v != "file" && (err != nil || u.Scheme != "s3" || u.Host == "") {
		return fmt.Errorf("want file, or s3://KEY:SECRET@host:port/bucket/prefix, or env:NAME or file:PATH that hold it")
	}
	b.URL = v
	return nil
}

// ParseBlobs reads what --blobs of the command line takes.
func ParseBlobs(v string) (b Blobs, err error) {
	if err = b.take(v); err != nil {
		err = fmt.Errorf("--blobs: %w", err)
	}
	return b, err
}

// show gives the URL without key and secret.
func (b *Blobs) show() string {
	u, err := url.Parse(b.URL)
	if err != nil {
		return ""
	}
	if u.User != nil {
		u.User = url.User("xxxxx") // as url.URL.Redacted writes
	}
	return u.String()
}
