// Package search is the text index. SEARCH TEXT and BODY look for any part of a text without regard to case (RFC 3501
// §6.4.4, RFC 9051 §6.4.4); the index only narrows down which emails are to be looked at, and where it can answer
// alone its answer is the same. It knows no mailboxes, sessions or queries, only accounts, emails and one text at a time.
//
// # What is indexed
//
// message.Texts is the one definition of what the texts of an email are; whoever looks at an email itself walks over
// the same. Folded as by message.Fold, they are cut into terms: each maximal run of letters, digits and marks is one.
// A run of more than 64 octets is indexed as terms of 64 octets, one every 32 octets and one at its end. In scripts
// that put no blanks between words (Han, kana, Thai, Lao, Khmer, Burmese) each pair of neighbours is a term, and a
// character that stands alone. There are no stop words and no stems.
//
// A text to be looked for becomes probes, which are all to be met in the header or all in the body (needle.go):
//
//	huwiotio      one run: any term that holds it. Exact: no email is read.
//	ion. mas j    several: a term that ends with "ion", the term "mas", one that begins with "j". Then the emails.
//	発注書         the terms 発注 and 注書. Then the emails.
//	"- "          no run: the index says nothing.
//
// # Rows
//
// All are under the account's lock; those of ix are written once. A row is its version (1), the xxhash64 of its key
// and payload, and the payload; numbers are varints. A slot is twice the place of an email among its segment's, plus 1
// for what stands in the body.
//
//	iw A              epoch up-to newest-segment n*(segment first last emails octets)      the state
//	ix A segment 0 0  n*email n*opaque-place n*(shared-length length octets)               first terms of the blocks
//	ix A segment 1 n  s2(LF *(term LF))                                                    terms of a block, sorted
//	ix A segment 2 n  *(slot<<2 | n<<2|1 n*distance | n<<2|2 n*octet)                      their slots, in order
//
// Looking for part of a term is one pass over rows 1, 16 KiB of text each, with bytes.Index; rows 2 are read where
// something was found. The emails of a segment are those whose texts it tells, but for opaque ones, of more than 4 MiB
// of text or 30,000 terms, or unreadable, which are always looked at.
//
// # Invariants
//
//   - Never wrong: an email that is in no segment is Unknown, and looked at itself. So the index may lag behind, and
//     emails that come need not be noted anywhere: email ids rise, and the builder goes on above up-to.
//   - Every step is one transaction, of a new segment and the state, or of a merged one in place of others. A crash
//     leaves the state before or after it.
//   - All is derived. A row that is not what was written costs its segment, which is built anew; a state that is not,
//     or is of another epoch (other tables of characters, other limits of MIME), the index of the account.
//   - An email's id is never used for another email. Expunged emails stay in segments until these are merged: nobody
//     asks for them. Whoever gives ids out again, as a restore may, calls Drop.
//   - Segment ids are never used again, so that what is remembered of segments needs no lock.
package search
