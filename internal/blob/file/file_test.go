package file_test

import (
	"testing"

	"postel/internal/blob"
	"postel/internal/blob/blobtest"
	"postel/internal/blob/file"
	"postel/internal/vfs"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) file.Options{
		"disk":   func(t *testing.T) file.Options { return file.Options{Dir: t.TempDir() + "/blob"} },
		"memory": func(*testing.T) file.Options { return file.Options{FS: vfs.NewMem(), Dir: "/blob"} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blobtest.Run(t, func(t *testing.T) blob.Large {
				s, err := file.New(open(t))
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

// TestForeignFiles has files in the directory that are not ours: they are neither listed nor touched.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s, err := file.New(file.Options{FS: fs, Dir: "/b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/b/lost+found/x", "/b/abcd/x", "/b/abcd/0000000000000000", "/b/abcd/ABCDEFGHIJKLMNOP"} {
		if err := vfs.MkdirAllSync(fs, fs.PathDir(name)); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFileSync(fs, name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for info, err := range s.List(t.Context()) {
		t.Errorf("listed %v, %v", info, err)
	}
}
