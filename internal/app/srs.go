package app

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/srs"
)

// maxSecretFile bounds the file of secrets, in octets.
const maxSecretFile = 64 << 10

// forwarder makes what rewrites the senders of forwarded mail.
func (n *node) forwarder() (*srs.Rewriter, error) {
	c := n.Config.SRS
	o := srs.Options{Secrets: [][]byte{n.directory.Key("srs")}, Days: c.Days, Hash: c.HashLength}
	if c.SecretFile != "" {
		var err error
		if o.Secrets, err = readSecrets(c.SecretFile); err != nil {
			return nil, fmt.Errorf("srs.secret_file: %w", err)
		}
	}
	return srs.New(o), nil
}

// readSecrets reads a secret a line; blanks around them are no part of them, and empty lines none.
func readSecrets(file string) (secrets [][]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxSecretFile {
		return nil, fmt.Errorf("%s is larger than %d octets", file, maxSecretFile)
	}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			secrets = append(secrets, line)
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("%s holds no secret", file)
	}
	return secrets, nil
}

// returns lets the addresses that the forwarder made lead back, also while it makes none any more.
func (n *node) returns(dir directory.Directory, w *srs.Rewriter) directory.Directory {
	return directory.Returns{
		Directory: dir, Own: n.Config.SRS.Domain,
		Reverse: func(a mail.Address) (mail.Address, error) { return w.Reverse(a, n.clock()) },
	}
}

// forward is the MTA's rewriting of senders; nil when it is turned off.
func (n *node) forward(w *srs.Rewriter) func(mail.Address, mail.Domain) (mail.Address, bool) {
	if n.Config.SRS.Forwards != "on" {
		return nil
	}
	return func(from mail.Address, by mail.Domain) (mail.Address, bool) {
		if own := n.Config.SRS.Domain; own != "" {
			by = own
		}
		return w.Forward(from, by, n.clock())
	}
}
