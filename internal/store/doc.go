// Package store is what mail is: mailboxes and the messages in them. The rules of RFC 3501, RFC 9051, RFC 7162,
// RFC 6851 and RFC 8474 that concern what is kept are implemented here once, above the engines of kv and blob. It
// knows no protocol, no users and no policy.
//
// # Invariants
//
//   - In a mailbox UIDs ascend strictly in the order of arrival and are never used again. A UIDVALIDITY is never
//     used again in its account, whatever the mailbox.
//   - Each commit that changes what a client can see raises the account's MODSEQ and writes one row of the change
//     log under it. The entries it touched carry that MODSEQ.
//   - The counters of accounts and mailboxes equal a recount. An email lives exactly as long as an entry names it,
//     or a ud row once it was expunged, and so does its link of its blob.
//   - Sessions, counters and notices see a change only after its sync; nothing shown is ever taken back.
//   - Whoever commits an Append calls Notify before anyone is told of it.
//
// # Rows
//
// All of an account's rows are under its lock but em, which is written once, and sv, which is under the server's.
// Every value begins with the octet of its version, 1; numbers are varints, those that may be negative in zigzag;
// times are Unix seconds; text and octets stand behind their length; ranges are n *(distance length).
//
//	mb A M        uidvalidity role name                           no row: the mailbox is gone, or being emptied
//	na A          next-email next-mailbox last-uidvalidity modseq log-floor log-rows octets emails
//	nm A M        uidvalidity uidnext exists unseen deleted recent recent-from highestmodseq octets staged-ranges
//	en A M uid    email copy flags modseq save-date size
//	em A E        blob[16] thread size n*kept-hash[8] internal-date prefix tree
//	xe A E        next-copy n*(mailbox uid)
//	th A T E      (empty)
//	rf A hash     thread emails-that-keep-it
//	kw A          n*name
//	ud A kind …   what was expunged and can be brought back       see expunged.go
//	lg A modseq   time *(kind mailbox ranges [n*email])            see changelog.go, feed.go
//	ob A 1 name   (empty)                                         a subscription
//	ob A 2 key    mailbox[4] uid[4]                               where an imported message went
//	sv "store.job." kind A M first   kind A M range               see job.go
//
// An rf row is found by its hash alone, without the email in its key: so it is a point read, which the engine's
// filters answer and a transaction can declare, and a Tx may read what it wrote.
//
// # An open mailbox
//
// All sessions of the process that look at a mailbox share one Snapshot, which stays half a minute after the last: immutable chunks of 256 entries of 36
// octets. The next one is made by reading the change log from where the last one stands, under View's guard, and
// copies only the chunks it changes; new entries are put behind the last chunk in place. Commits of this process
// raise the mailbox's target MODSEQ before anyone is told of them, so Latest knows by one comparison whether it is
// the newest. With Options.Shared Latest reads the account's MODSEQ first, so that a client sees at one node what it was
// told at another; who waits is woken by the bus, and looks by itself every 20 seconds for notices that were lost.
package store
