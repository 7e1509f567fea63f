package mx

import (
	"testing"

	"postel/internal/message"
)

// Nobody else speaks in our name (RFC 8601 §5), nor says the return path (RFC 5321 §4.4).
func TestEditTakesOutWhatIsOurs(t *testing.T) {
	t.Parallel()
	h, _ := message.ParseHeader("Return-Path: <x@y.org>\r\n" +
		"Authentication-Results: MX.example.org; spf=pass\r\n" +
		"authentication-results: (c) \"mx.example.org\" 1;\r\n\tdkim=pass\r\n" +
		"Authentication-Results: other.example.org; spf=fail\r\nSubject: mx.example.org\r\n\r\n")
	tx := &transaction{Options: &Options{Hostname: "mx.example.org"}}
	if err := tx.edit(&h); err != nil {
		t.Fatal(err)
	}
	want := "Authentication-Results: other.example.org; spf=fail\r\nSubject: mx.example.org\r\n\r\n"
	if got := h.String(); got != want {
		t.Errorf("%q", got)
	}
}
