// Package transfer reads mail out of other systems' boxes and writes it into them: maildirs, mbox files, single
// messages, archives of these, and other servers by IMAP. It knows no store: a Source gives messages one by one, a
// Target takes them, and the stream between command line and server has its codec here.
//
// # The stream
//
// One message after the other, read until the end of the input:
//
//	{"mailbox":…,"flags":[…],"date":…,"key":…}\n      a line of JSON: Meta
//	length u32, that many octets                      any number of times, 1 MiB at most each
//	0 u32                                             the end of the content
//	{"problem":…}\n                                   a line of JSON: why the content is not whole, or {}
//
// # Line ends
//
// Mail has CRLF (RFC 5322 §2.1), files mostly LF. A message whose first line ends in CRLF is taken as it is; in any
// other each LF without a CR gets one. Written into a maildir or an mbox, a message whose every line ends in CRLF gets
// LF; any other is written as it is, so that nothing is lost. An mbox cannot tell whether the last line had an end: it
// gets one. The fields that say in an mbox what a message's flags are (Status and its kin) are written from its flags; those
// that it came with are left out, for they would be taken for the flags it has.
//
// # Doing it again
//
// Each message has a Key that its source gives it again the next time: what was taken is not taken twice, however often
// an import is cut off and begun anew. It is a digest of the mailbox that it goes to and of what the source knows the
// message by: the base of a maildir's file name; the user, UIDVALIDITY, UID, size and date of a server's; else the content.
// Where more than one message of a source has the same, how many came before is in it too.
//
// A maildir may be in use meanwhile: messages move from new to cur, and are renamed with their flags. It is looked through
// again until nothing moved and nothing new is found, four times at most.
//
// # Archives
//
// tar, tar.gz and zip are read without being unpacked. Entries with absolute names, "..", links, devices, more entries
// or octets than the limits, or a suspicious ratio end the import, by name, before any of their content is used.
package transfer
