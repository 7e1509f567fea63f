package transfer

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"postel/internal/mail"
)

// Limits of an archive. A bomb is one whose content is maxRatio times its size, beyond what a small one may have.
const (
	maxEntries  = 20_000_000
	maxName     = 4096
	maxRatio    = 250
	ratioFloor  = 256 << 20
	maxUnpacked = 4 << 40
)

// file is one regular file of a source.
type file struct {
	name string // with slashes, below the source's root
	size int64
	mod  time.Time
	open func() (io.ReadCloser, error) // within walk only
}

// tree is the files of a source: a directory, an archive, or one file. walk may be called more than once, and gives the
// files in the same order each time.
type tree interface {
	walk(fn func(file) error) error
	close() error
}

// openTree opens what stands at a path. skipped is told the names of what is no regular file in a directory.
func openTree(name string, skipped func(string)) (tree, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, mail.E("transfer.open", mail.NotFound, "%v", err)
	}
	lower := strings.ToLower(name)
	switch {
	case st.IsDir():
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, mail.E("transfer.open", mail.Denied, "%v", err)
		}
		return newDirTree(root, skipped), nil
	case strings.HasSuffix(lower, ".tar"):
		return checked(&tarTree{name: name})
	case strings.HasSuffix(lower, ".tar.gz"), strings.HasSuffix(lower, ".tgz"):
		return checked(&tarTree{name: name, gz: true})
	case strings.HasSuffix(lower, ".zip"):
		return openZip(name)
	}
	return &oneFile{name, st}, nil
}

// checked looks through a whole archive before anything of it is used.
func checked(t tree) (tree, error) {
	if err := t.walk(func(file) error { return nil }); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

type oneFile struct {
	name string
	info fs.FileInfo
}

func (o *oneFile) walk(fn func(file) error) error {
	return fn(file{
		name: o.info.Name(), size: o.info.Size(), mod: o.info.ModTime(),
		open: func() (io.ReadCloser, error) { return os.Open(o.name) },
	})
}

func (o *oneFile) close() error { return nil }

// dirTree is a directory. Links are not followed: nothing outside of it is read.
type dirTree struct {
	root    *os.Root
	skipped func(string)
}

// newDirTree tells of each thing that is left aside once, however often it is walked.
func newDirTree(root *os.Root, skipped func(string)) *dirTree {
	told := map[string]bool{}
	return &dirTree{root, func(s string) {
		if !told[s] {
			told[s] = true
			skipped(s)
		}
	}}
}

func (d *dirTree) walk(fn func(file) error) error {
	fsys := d.root.FS()
	return fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			d.skipped(fmt.Sprintf("%s: %v", name, err))
			if e != nil && e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.IsDir() {
			return nil
		}
		if !e.Type().IsRegular() {
			d.skipped(name + ": not a regular file")
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // moved meanwhile, as a mail client does
		}
		if err != nil {
			d.skipped(fmt.Sprintf("%s: %v", name, err))
			return nil
		}
		return fn(file{
			name: name, size: info.Size(), mod: info.ModTime(),
			open: func() (io.ReadCloser, error) { return fsys.Open(name) },
		})
	})
}

func (d *dirTree) close() error { return d.root.Close() }

// judge refuses entries of an archive that no honest one has.
type judge struct {
	entries, octets, packed int64
}

func (j *judge) entry(name string, size int64, kind string) error {
	bad := func(why string) error {
		return mail.E("transfer.archive", mail.Rejected, "the archive is refused: entry %q %s", clip(name), why)
	}
	j.entries++
	j.octets += max(size, 0)
	clean := strings.ReplaceAll(name, `\`, "/")
	switch {
	case kind != "":
		return bad("is " + kind)
	case len(name) > maxName || strings.ContainsRune(name, 0):
		return bad("has no sensible name")
	case path.IsAbs(clean) || len(clean) > 1 && clean[1] == ':':
		return bad("has an absolute name")
	case clean == ".." || strings.HasPrefix(clean, "../") || strings.HasSuffix(clean, "/..") || strings.Contains(clean, "/../"):
		return bad("leads out of the archive")
	case size < 0:
		return bad("has no sensible size")
	case j.entries > maxEntries:
		return bad(fmt.Sprintf("is beyond %d", maxEntries))
	case j.octets > maxUnpacked, j.octets > ratioFloor && j.octets/maxRatio > j.packed:
		return bad("makes it a bomb: it unpacks to too much")
	}
	return nil
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

type tarTree struct {
	name string
	gz   bool
}

func (t *tarTree) walk(fn func(file) error) error {
	f, err := os.Open(t.name)
	if err != nil {
		return mail.E("transfer.archive", mail.Denied, "%v", err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return mail.Wrap("transfer.archive", err)
	}
	j := &judge{packed: st.Size()}
	var r io.Reader = f
	if t.gz {
		z, err := gzip.NewReader(f)
		if err != nil {
			return mail.E("transfer.archive", mail.Invalid, "%s is no gzip file: %v", t.name, err)
		}
		r = z
	}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return mail.E("transfer.archive", mail.Invalid, "%s is damaged: %v", t.name, err)
		}
		if h.Typeflag == tar.TypeDir {
			if err := j.entry(h.Name, 0, ""); err != nil {
				return err
			}
			continue
		}
		if err := j.entry(h.Name, h.Size, tarKind(h.Typeflag)); err != nil {
			return err
		}
		e := file{name: path.Clean(h.Name), size: h.Size, mod: h.ModTime, open: func() (io.ReadCloser, error) { return io.NopCloser(tr), nil }}
		if err := fn(e); err != nil {
			return err
		}
	}
}

func (t *tarTree) close() error { return nil }

// tarKind names what is no regular file.
func tarKind(flag byte) string {
	switch flag {
	case tar.TypeReg, tar.TypeXGlobalHeader:
		return ""
	case tar.TypeLink, tar.TypeSymlink:
		return "a link"
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return "a device"
	}
	return "of a kind that mail has not"
}

type zipTree struct {
	*zip.ReadCloser
}

func openZip(name string) (tree, error) {
	z, err := zip.OpenReader(name)
	if err != nil {
		return nil, mail.E("transfer.archive", mail.Invalid, "%s is no zip file: %v", name, err)
	}
	t := &zipTree{z}
	j := &judge{}
	for _, f := range z.File {
		j.packed += int64(min(f.CompressedSize64, 1<<50)) //nolint:gosec // bounded
		kind := ""
		if m := f.Mode(); m&fs.ModeSymlink != 0 {
			kind = "a link"
		} else if !m.IsDir() && !m.IsRegular() {
			kind = "a device"
		}
		if err := j.entry(f.Name, int64(min(f.UncompressedSize64, 1<<62)), kind); err != nil { //nolint:gosec // bounded
			return nil, errors.Join(err, z.Close())
		}
	}
	return t, nil
}

func (t *zipTree) walk(fn func(file) error) error {
	for _, f := range t.File {
		if f.Mode().IsDir() || strings.HasSuffix(f.Name, "/") {
			continue
		}
		e := file{
			name: path.Clean(strings.ReplaceAll(f.Name, `\`, "/")), size: int64(min(f.UncompressedSize64, 1<<62)), mod: f.Modified, //nolint:gosec // bounded
			open: func() (io.ReadCloser, error) {
				r, err := f.Open()
				if err != nil {
					return nil, mail.E("transfer.archive", mail.Invalid, "entry %q is damaged: %v", clip(f.Name), err)
				}
				return r, nil
			},
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (t *zipTree) close() error { return t.Close() }
