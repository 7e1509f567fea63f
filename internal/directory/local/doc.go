// Package local is the directory that keeps domains, accounts and aliases as rows of kv.
//
//	row  key                        value (after an octet with the version, 1)
//	dm   name                       kind octet, catchall address as text; versions 2 and 3: see rows.go
//	sp   domain NUL local part      source octet, since u64, expires u64 (0: never), reason as text
//	dr   domain NUL local part      flags octet, then 'a' account u64 | 'l' targets, one a line
//	ac   account u64                flags octet, quota u64, time of making u64, main address as text
//	cr   account u64, kind, n u32   kind 1: argon2id as PHC string; 2: SCRAM-SHA-256 keys; 3: the sealed password
//	                              4: SCRAM-SHA-1 keys; 5: uses octet, secret made apart from the password, sealed
//	sv   "directory"                format octet, 32 secret octets from which all keys are derived
//	sv   "accounts"                 next account id u64: ids are never given twice
//
// dm, dr and sp are guarded by the lock of the directory, so that the question at RCPT is one read of three rows under
// a lock that hardly anyone ever writes under; ac and cr by the lock of their account, sv by that of the server.
//
// Addresses are kept and compared folded (local part in lower case, domain in A-labels). An address is either
// an account's or an alias, never both.
//
// Logging in. The login is the account's address, an alias that leads to that account alone, or the bare local
// part of the address while there is exactly one local domain. Subaddresses do not log in. Every check of a
// password costs one argon2id computation, for unknown accounts too; at most one a core runs at once. A
// password found right is remembered for five minutes under a keyed MAC over account, stored hash and password,
// so a changed password is forgotten at once by every process that shares the rows. Names and passwords are
// prepared as RFC 4013 says before they are compared. The catcher's account takes any password where the
// mechanism carries one or a digest of it; SCRAM proves the server too and therefore works for it only with the
// password that was set.
//
// Secrets that must be recoverable (APOP, CRAM-MD5) are made apart from the password and on demand (NewShared), or with
// Options.Recoverable are the password itself. They are sealed with AES-GCM under a key of the sv row and bound to
// their account; who has all rows has them.
//
// Accounts from before SCRAM-SHA-1 get its keys at their next login with a password in clear; until all have them the
// mechanism is not offered (Every).
package local
