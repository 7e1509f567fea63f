// Package blob keeps message bodies: immutable, named by a time-ordered id, kept as long as a link names them,
// compressed where that helps, readable in ranges. It knows nothing of mail, and no engine.
//
// # Life
//
//	New ─ Write… ─ Seal ─ [ kv transaction: Link ] ─ Discard
//
// A body of up to Options.InlineMax octets (128 KiB) is one row of the transaction that links it, so it costs no
// sync of its own. A larger one streams into an object (see Large) already in its final format; Seal makes the
// object durable, and only then may a transaction name it. An object that no row names (a crash, or a transaction
// that never came) is removed by Sweep. Links are rows too: a body goes with its last link.
//
// # Rows
//
//	bl B                 1 octet   version, 1
//	                     1 octet   0 body follows as it is, 1 body follows in zstd, 2 body is an object, 3 in S2
//	                     8 octets  length of the body
//	                     8 octets  xxHash64 of the body, or of the object's index and trailer
//	                     rest      the body
//	bk B kind A ID       one link: empty, or 1 octet version, 1, and 8 octets Unix seconds when it ends
//	bx end B kind A ID   empty: a link that ends; a row for an end that the link has no more means nothing
//	bg B                 empty: Sweep looks whether a link is left, and removes the object
//
// # Objects
//
//	frames   the body in pieces of 256 KiB, each zstd or as it is, back to back
//	index    for each frame: 4 octets stored length, the highest bit tells zstd; 8 octets xxHash64 of its body
//	trailer  8 octets length of the body; 4 octets frame size; 4 octets number of frames; 8 octets "PBLOB\r\n\x01"
//
// All numbers are big-endian. A range is read by reading the trailer, the index and the frames it touches.
//
// # Invariants
//
// What is read is what was written or an error: every row and frame carries a digest of its plain octets, and the
// row of an object one of its index. The digest finds damage by disks, memory and bugs; it is no signature (who can
// write the store can write digests), which is why it is xxHash64, 20 times faster than SHA-256, and not used
// to recognise equal bodies either: that would be an oracle across accounts.
package blob
