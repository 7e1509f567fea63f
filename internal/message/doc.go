// Package message knows the format of a mail: the header of RFC 5322 (lossless), addresses, dates, message ids,
// encoded words and parameters (RFC 2047, RFC 2231), the MIME tree of RFC 2045 and RFC 2046 with exact offsets,
// the ENVELOPE and the summary that a store keeps, decoding of bodies, and a substring matcher over decoded text.
//
// It is pure: no files, no network, no policy, no logging. Whatever is read is taken as hostile: sizes, counts,
// depth and time are bounded, and broken mail is described rather than refused. The only functions that refuse are
// those named Check, which a submission server uses, and EditHeader, which refuses an oversized header.
//
// # Invariants
//
//   - A Header writes the octets that it was read from, as long as nobody edits it.
//   - Offsets of a Part are positions in the stream that was written to the Parser. For every part
//     HeaderStart <= BodyStart <= End, children lie within [BodyStart, End] of their parent in order and do not
//     overlap, and the tree does not depend on how the stream was cut into writes.
//   - The tree depends on the header and the boundaries alone; parsing takes linear time.
//
// # Binary form of a Part
//
// AppendBinary and Decode use a compact form, version 1. Integers are unsigned varints; a string is its length and
// its octets; a token is one varint: an index into the table in codec_tokens.go, or the table's length plus the
// length of the octets that follow.
//
//	message  = 0x01 part
//	part     = gap flags header-length body-length lines-of-body token(type) token(subtype) params
//	           token(encoding) [id] [description] [md5] [disposition params] [languages] [location]
//	           [envelope] [summary] [n *part]
//	gap      = octets between the end of the previous sibling (at first: the parent's body start) and the part; 0 for the root
//	params   = n *(token(name) token(value))
//	envelope = flags date subject in-reply-to message-id from [sender] [reply-to] to cc bcc
//	address  = kind name mailbox host
//	summary  = flags fields preview
//
// What stands in brackets is there when its bit in flags is set.
package message
