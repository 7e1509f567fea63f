package faults

import (
	"os"
	"slices"
	"strings"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"postel/internal/vfs"
)

// halfFS writes half of what it is given when inject says so.
type halfFS struct {
	vfs.FS
	inject func() error
}

func (h halfFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return halfFile{f, h.inject}, nil
}

func (h halfFS) Create(name string, c pvfs.DiskWriteCategory) (vfs.File, error) {
	return h.file(h.FS.Create(name, c))
}

func (h halfFS) OpenReadWrite(name string, c pvfs.DiskWriteCategory, o ...pvfs.OpenOption) (vfs.File, error) {
	return h.file(h.FS.OpenReadWrite(name, c, o...))
}

func (h halfFS) ReuseForWrite(old, name string, c pvfs.DiskWriteCategory) (vfs.File, error) {
	return h.file(h.FS.ReuseForWrite(old, name, c))
}

type halfFile struct {
	vfs.File
	inject func() error
}

func (f halfFile) Write(p []byte) (int, error) {
	if err := f.inject(); err != nil {
		n, _ := f.File.Write(slices.Clone(p[:len(p)/2]))
		return n, &os.PathError{Op: "write", Err: err}
	}
	return f.File.Write(p)
}

func (f halfFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.inject(); err != nil {
		n, _ := f.File.WriteAt(slices.Clone(p[:len(p)/2]), off)
		return n, &os.PathError{Op: "write", Err: err}
	}
	return f.File.WriteAt(p, off)
}

// difference gives the lines that only one of two states has.
func difference(want, got string) string {
	var b strings.Builder
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, x := range w {
		if !slices.Contains(g, x) {
			b.WriteString("- " + x + "\n")
		}
	}
	for _, x := range g {
		if !slices.Contains(w, x) {
			b.WriteString("+ " + x + "\n")
		}
	}
	return b.String()[:min(b.Len(), 3000)]
}
