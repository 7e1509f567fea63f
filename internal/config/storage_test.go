package config

import "testing"

func TestStorage(t *testing.T) {
	t.Setenv("POSTEL_TEST_URL", "postgres://u:secret@db/mail?password=secret&sslmode=disable")
	for _, c := range []struct{ in, kept, shown string }{
		{"embedded", "embedded", "embedded"},
		{"memory", "memory", "memory"},
		{"postgres://u@db/mail", "postgres://u@db/mail", "postgres://u@db/mail"},
		{"postgresql://db:5433/mail", "postgresql://db:5433/mail", "postgresql://db:5433/mail"},
		{
			"env:POSTEL_TEST_URL", "postgres://u:secret@db/mail?password=secret&sslmode=disable",
			"postgres://u:xxxxx@db/mail?password=xxxxx&sslmode=disable",
		},
		{"env:POSTEL_TEST_NONE", "", ""},
		{"file:/nonexistent", "", ""},
		{"mysql://db/mail", "", ""},
		{"postgres://db", "", ""},
		{"postgres", "", ""},
		{"", "", ""},
	} {
		var kept string
		err := storage(&kept)(c.in)
		if kept != c.kept || (err == nil) != (c.kept != "") || showStorage(&kept)() != c.shown {
			t.Errorf("%q: kept %q, shown %q, %v", c.in, kept, showStorage(&kept)(), err)
		}
	}
}
