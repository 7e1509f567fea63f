package observe

import (
	"encoding/json"
	"strings"
)

// In JSON ids carry their prefixes, as they do in replies and logs; reading takes both forms.

// MarshalJSON gives the line with its glyph.
func (l Line) MarshalJSON() ([]byte, error) {
	type plain Line
	return json.Marshal(struct {
		Session string `json:"session"`
		plain
		Glyph string `json:"glyph"`
	}{"s-" + l.Session.String(), plain(l), strings.TrimSpace(l.Glyph())})
}

// MarshalJSON gives the transcript.
func (t Transcript) MarshalJSON() ([]byte, error) {
	type plain Transcript
	return json.Marshal(struct {
		ID string `json:"id"`
		plain
	}{"s-" + t.ID.String(), plain(t)})
}

// MarshalJSON gives the event.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	return json.Marshal(struct {
		Message string `json:"message"`
		plain
	}{"m-" + e.Message.String(), plain(e)})
}
