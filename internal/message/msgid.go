package message

import "strings"

// maxIDs is the largest number of message ids that one field gives.
const maxIDs = 1000

// MessageIDs gives the ids of an unfolded Message-ID, In-Reply-To or References value, without angle brackets,
// blanks and comments, in order. What stands outside of brackets is skipped (obs-phrase, RFC 5322 §4.5.4), save when
// the value has no brackets at all: then words with an at sign count.
func MessageIDs(s string) []string {
	var ids []string
	if strings.IndexByte(s, '<') < 0 {
		for w := range strings.FieldsSeq(s) {
			if strings.IndexByte(w, '@') > 0 && len(ids) < maxIDs {
				ids = append(ids, w)
			}
		}
		return ids
	}
	for len(ids) < maxIDs {
		_, rest, ok := strings.Cut(s, "<")
		if !ok {
			break
		}
		id, tail, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		s = tail
		if strings.ContainsAny(id, " \t") {
			id = strings.Join(strings.Fields(id), "")
		}
		if id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// isMessageID tells whether s is one msg-id with its brackets (RFC 5322 §3.6.4, obsolete forms of §4.5.4 included),
// and nothing else.
func isMessageID(s string) bool {
	s = strings.TrimSpace(s)
	if len(s) < 5 || s[0] != '<' || s[len(s)-1] != '>' {
		return false
	}
	at := strings.LastIndexByte(s, '@')
	if at < 2 || at > len(s)-3 {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return true
}
