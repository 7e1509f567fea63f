// Package backup writes archives of a running server and brings back what is in them: everything, an account, a mailbox,
// a message. It knows rows only where they are copied as they are (the directory's); of mail and of the queue it asks
// store and queue, so that an archive outlives their rows' places.
//
// # Archive
//
// An archive is a row of sections. Each is found, checked and read alone, so that damage costs what it hits and no more:
// behind damage the reader looks for the next section's mark. All numbers are big-endian.
//
//	mark     8 octets  0xff "PBK\r\n" 0x1a 0x01; the last octet is the format
//	type     1 octet   see below
//	packed   1 octet   1: the payload is zstd
//	number   8 octets  of the section in its archive, from 0: a gap is damage
//	account  8 octets  0: none
//	id       8 octets  the email, or the number of the queue's item
//	part     4 octets  of a body that has several sections, from 0
//	plain    4 octets  length of the payload unpacked, 32 MiB at most
//	stored   4 octets  length of the payload as it follows
//	digest   8 octets  xxHash64 of it
//	check    8 octets  xxHash64 of all before it
//	payload
//
//	H  head: JSON; the archive's id, its time, what it is of, the archive that it builds on
//	D  rows of the directory that are no account's: domains, aliases, routes
//	A  account: JSON; its address, counters, mailboxes, keywords, subscriptions
//	R  rows of the directory that are the account's: settings, password hashes
//	E  entries: n *(mailbox uid email copy flags save-date), varints; as many sections as it takes
//	M  message: places, row, length of the body, the body's beginning
//	B  more of the body of the section before
//	Z  end of the account: JSON; how many messages there were
//	Q  item of the queue: as M, the row being queue's own
//	X  end of the archive: JSON; an archive without it was cut off
//
// The order is H D (A R E… (M B…)… Z)… (Q B…)… X. An archive that builds on another (Since) has all of H, D, A, R, E, Q
// and of M only those that the other does not have: so the newest of a chain says what there was, and the messages are
// in any of them.
//
// # Consistency
//
// Of each account A, R and E are one moment's; bodies never change, and are read after it. A message that is removed for
// good between that moment and its turn, which takes longer than storage.undelete, is left out. Accounts, the directory and
// the queue are of moments of their own, in the order above: mail that arrives meanwhile is in an account or not, and mail
// that is delivered meanwhile may be both in an account and in the queue, which comes back held.
//
// # What is kept secret
//
// An archive has all mail and the hashes of passwords: who writes it gives it mode 0600. Passwords that could be read back
// (APOP, CRAM-MD5) are left out.
package backup
