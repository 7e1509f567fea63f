package oauth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

// counting gives a program that counts its runs into a file and then does what script says.
func counting(t *testing.T, script string) (args []string, runs func() int) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "runs")
	return []string{"/bin/sh", "-c", "echo >> " + log + "; n=$(wc -l < " + log + "); " + script}, func() int {
		b, _ := os.ReadFile(log)
		return strings.Count(string(b), "\n")
	}
}

// TestCommand: a token is kept until shortly before it ends, got anew when it is refused, and a program that hangs, talks
// too much, fails or writes something else gives none.
func TestCommand(t *testing.T) {
	t.Parallel()
	now := time.Now()
	args, runs := counting(t, `echo "{\"access_token\":\"t$n\",\"expires_in\":3600,\"token_type\":\"Bearer\"}"`)
	c := NewCommand(args, func() time.Time { return now }, nil)
	for i, s := range []struct {
		pass    time.Duration
		refused string
		want    string
	}{
		{0, "", "t1"},
		{58 * time.Minute, "", "t1"},
		{2 * time.Minute, "", "t2"},
		{time.Minute, "t1", "t2"}, // another session has got it anew
		{0, "t2", "t3"},           // refused
		{time.Second, "t3", "t3"}, // but not time and again
		{11 * time.Second, "t3", "t4"},
		{time.Hour, "", "t5"},
		{0, "t5", "t6"}, // at once
	} {
		now = now.Add(s.pass)
		if got, err := c.Token(t.Context(), s.refused); got != s.want || err != nil {
			t.Errorf("%d: %q %v, want %q", i, got, err, s.want)
		}
	}
	if runs() != 6 {
		t.Errorf("it ran %d times", runs())
	}
	plain, runs := counting(t, `echo " t$n "`)
	c = NewCommand(plain, func() time.Time { return now }, nil)
	for _, want := range []string{"t1", "t1", "t2"} {
		if got, err := c.Token(t.Context(), ""); got != want || err != nil {
			t.Errorf("%q %v, want %s", got, err, want)
		}
		now = now.Add(3 * time.Minute)
	}
	_ = runs
}

// TestBadCommand: no token, and no secret in the error.
func TestBadCommand(t *testing.T) {
	t.Parallel()
	for _, script := range []string{
		"exit 3", "true", "sleep 2 & exit 4", "echo two words", "yes secret | tr -d '\\n' | head -c 100000", `echo '{"access_token":5}'`, `echo '{"error":"secret"}'`,
	} {
		c := NewCommand([]string{"/bin/sh", "-c", script}, nil, nil)
		if got, err := c.Token(t.Context(), ""); got != "" || !mail.Is(err, mail.Unavailable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %q %v", script, got, err)
		}
	}
	if _, err := NewCommand([]string{"/does/not/exist"}, nil, nil).Token(t.Context(), ""); !mail.Is(err, mail.Unavailable) {
		t.Error(err)
	}
}
