package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadSecrets: a secret a line, the first of which is used; a file without any is no reason to go on with none.
func TestReadSecrets(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets")
	for text, want := range map[string]string{
		"one\n": "one", "new\r\n\n  old \nolder": "new old older", "": "", "\n \n": "", strings.Repeat("x", maxSecretFile+1): "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := readSecrets(file)
		var got []string
		for _, s := range list {
			got = append(got, string(s))
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %q %v", text, got, err)
		}
	}
	if _, err := readSecrets(file + ".missing"); err == nil {
		t.Error("a file that is missing is taken")
	}
}
