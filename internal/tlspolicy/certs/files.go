package certs

import (
	"crypto/tls"
	"crypto/x509"
	"sync"
	"sync/atomic"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// recheck is how often the files are looked at, and then only when a client connects.
const recheck = 3 * time.Second

// FilesOptions name a certificate chain and its key.
type FilesOptions struct {
	FS     vfs.FS // nil is the operating system's
	Cert   string // PEM, the server's own certificate first
	Key    string // PEM
	Now    func() time.Time
	Report func(error) // told when changed files cannot be used and the old ones stay; nil drops it
}

// Files is a Source that follows its files. Safe for concurrent use.
type Files struct {
	o       FilesOptions
	current atomic.Pointer[tls.Certificate]

	mu      sync.Mutex // guards what follows; only one handshake at a time looks at the files
	checked time.Time
	seen    stamp
	last    string // what was reported last, so that it is said once
}

// stamp tells versions of the files apart.
type stamp struct {
	certTime, keyTime time.Time
	certSize, keySize int64
}

// OpenFiles reads a certificate and its key. An error of Kind Invalid says what is wrong with them.
func OpenFiles(o FilesOptions) (*Files, error) {
	if o.Cert == "" || o.Key == "" {
		return nil, mail.E("certs.files", mail.Invalid, "no certificate: set cert and key under [tls]")
	}
	if o.FS == nil {
		o.FS = vfs.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Report == nil {
		o.Report = func(error) {}
	}
	f := &Files{o: o}
	f.checked = o.Now()
	var err error
	if f.seen, err = f.stat(); err != nil {
		return nil, err
	}
	return f, f.load()
}

// GetCertificate gives the certificate, whatever name the client asks for.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.mu.TryLock() {
		defer f.mu.Unlock()
		if now := f.o.Now(); now.Sub(f.checked) >= recheck {
			f.checked = now
			f.refresh()
		}
	}
	return f.current.Load(), nil
}

// Leaf gives the certificate itself, to see its names and when it ends.
func (f *Files) Leaf() *x509.Certificate { return f.current.Load().Leaf }

// refresh loads the files when they changed. Of two files one may be new and the other old for a moment: such a
// pair does not load, the old one stays, and the next look finds both.
func (f *Files) refresh() {
	now, err := f.stat()
	if err == nil && now == f.seen {
		return
	}
	if err == nil {
		err = f.load()
	}
	if err != nil {
		if f.last != err.Error() {
			f.last = err.Error()
			f.o.Report(err)
		}
		return
	}
	f.seen, f.last = now, ""
}

func (f *Files) stat() (stamp, error) {
	c, err := f.o.FS.Stat(f.o.Cert)
	if err != nil {
		return stamp{}, invalid(f.o.Cert, err)
	}
	k, err := f.o.FS.Stat(f.o.Key)
	if err != nil {
		return stamp{}, invalid(f.o.Key, err)
	}
	return stamp{c.ModTime(), k.ModTime(), c.Size(), k.Size()}, nil
}

func (f *Files) load() error {
	cert, err := vfs.ReadFile(f.o.FS, f.o.Cert, maxPEM)
	if err != nil {
		return invalid(f.o.Cert, err)
	}
	key, err := vfs.ReadFile(f.o.FS, f.o.Key, maxPEM)
	if err != nil {
		return invalid(f.o.Key, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return invalid(f.o.Cert+" with "+f.o.Key, err)
	}
	f.current.Store(&pair)
	return nil
}
