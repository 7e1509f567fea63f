package keep

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil { //nolint:gosec // another mode than ours
		t.Fatal(err)
	}
}

// TestBackupAfterKill: what a killed backup left under the temporary name is no part of the next archive, and is gone;
// in a directory, where each has a name of its own, too.
func TestBackupAfterKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "a.backup")
	put(t, name+temporary, "half an archive, longer than the next")
	if err := publish(name, strings.NewReader("whole")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	info, serr := os.Stat(name)
	if err != nil || serr != nil || string(b) != "whole" || info.Mode().Perm() != 0o600 || names(t, dir) != "a.backup" {
		t.Errorf("%q, %v, %s, %v", b, info.Mode(), names(t, dir), err)
	}
	put(t, filepath.Join(dir, archiveName("20261101T000000Z")+temporary), "half")
	put(t, filepath.Join(dir, "mine.tmp"), "of somebody")
	written, err := claim(filepath.Join(dir, archiveName("20261102T000000Z")+temporary))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = written.Close() }()
	got, err := target(dir, time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC))
	if err != nil || filepath.Base(got) != "postel-20261103T000000Z.backup" {
		t.Error(got, err)
	}
	if got := names(t, dir); got != "a.backup mine.tmp postel-20261102T000000Z.backup.tmp" {
		t.Error(got)
	}
}

// TestBackupTwice: of two backups to one name the second is refused, and disturbs the first one in nothing.
func TestBackupTwice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := filepath.Join(dir, "a.backup")
	pr, pw := io.Pipe()
	done := make(chan error)
	go func() { done <- publish(name, pr) }()
	if _, err := pw.Write([]byte("first ")); err != nil { // read, so it has the lock
		t.Fatal(err)
	}
	if err := publish(name, strings.NewReader("second")); err == nil || !strings.Contains(err.Error(), "another backup") {
		t.Error(err)
	}
	_, _ = pw.Write([]byte("whole"))
	if err := errors.Join(pw.Close(), <-done); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "first whole" || names(t, dir) != "a.backup" {
		t.Errorf("%q %s %v", b, names(t, dir), err)
	}
	if err := publish(name, strings.NewReader("third")); err == nil || !strings.Contains(err.Error(), "never overwritten") {
		t.Error(err)
	}
	if _, err := target(name, time.Time{}); err == nil {
		t.Error("an archive is overwritten")
	}
	broken := filepath.Join(dir, "b.backup")
	if err := publish(broken, io.MultiReader(strings.NewReader("x"), errReader{})); err == nil || names(t, dir) != "a.backup" {
		t.Error(err, names(t, dir))
	}
	if err := os.Symlink(name, broken+temporary); err != nil {
		t.Fatal(err)
	}
	if err := publish(broken, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Error(err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
