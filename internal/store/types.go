package store

import (
	"time"

	"postel/internal/mail"
)

// MailboxID names a mailbox within its account for good. INBOX is always 1.
type MailboxID uint32

// Inbox is the INBOX of every account.
const Inbox MailboxID = 1

// EmailID names a message within its account for good: RFC 8474's EMAILID. Copies share it.
type EmailID uint64

// UID is a message's number in its mailbox (RFC 9051 §2.3.1.1). 0 is none.
type UID uint32

// ModSeq is the account's change number (RFC 7162 §3): it rises with every change, in any mailbox.
type ModSeq uint64

// Role is what a mailbox is for (RFC 6154): "" or one of the constants.
type Role string

// The roles. RoleInbox belongs to INBOX alone; of the others a mailbox may have any, several may share one.
const (
	RoleNone    Role = ""
	RoleInbox   Role = "inbox"
	RoleSent    Role = "sent"
	RoleDrafts  Role = "drafts"
	RoleTrash   Role = "trash"
	RoleJunk    Role = "junk"
	RoleArchive Role = "archive"
)

// Mailbox is one mailbox of an account.
type Mailbox struct {
	ID          MailboxID
	Name        string // UTF-8 with '/' between levels; INBOX, also as the first level, in capitals
	Role        Role
	UIDValidity uint32
	Subscribed  bool
}

// Status is what STATUS tells of a mailbox (RFC 9051 §6.3.11).
type Status struct {
	Messages, Recent, Unseen, Deleted uint32
	UIDNext                           UID
	UIDValidity                       uint32
	HighestModSeq                     ModSeq
	Size                              int64 // octets of all messages (RFC 8438)
}

// Flags are the flags of one entry: system flags, then the account's 58 keyword slots, whose names a Snapshot
// tells.
type Flags uint64

// The system flags (RFC 9051 §2.3.2). Bit 5 is kept free. \Recent is no flag of the store: see View.RecentFrom.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft

	SystemFlags Flags = 1<<5 - 1
)

// Keyword slots: slot i is bit FirstKeyword+i.
const (
	FirstKeyword = 6
	MaxKeywords  = 64 - FirstKeyword
	// MaxKeyword is the longest name of a keyword, in octets.
	MaxKeyword = 128
)

// Has tells whether all of g are set.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Keywords gives the names of those keywords that are set: names are the account's, by slot, as Snapshot.Keywords.
func (f Flags) Keywords(names []string) []string {
	var set []string
	for i, n := range names[:min(len(names), MaxKeywords)] {
		if f.Has(1 << (FirstKeyword + i)) {
			set = append(set, n)
		}
	}
	return set
}

// Entry is a message in a mailbox.
type Entry struct {
	UID      UID
	Email    EmailID
	Copy     uint32 // tells the entries of one email apart, over all its mailboxes and for good; the first is 0
	Flags    Flags
	ModSeq   ModSeq    // of the last change of its flags
	SaveDate time.Time // when it came into this mailbox, in seconds (RFC 8514)
	Size     int64     // octets of the message, prefix included
}

// FlagOp says what SetFlags does with the flags given.
type FlagOp uint8

// The operations of STORE (RFC 9051 §6.4.6).
const (
	Replace FlagOp = iota
	Add
	Remove
)

// Delivery says where and how a message is appended.
type Delivery struct {
	Account      mail.AccountID
	Mailbox      MailboxID // 0: INBOX
	Prefix       []byte    // header lines in front of the blob, each with CRLF; 64 KiB at most
	Flags        Flags     // system flags
	Keywords     []string
	InternalDate time.Time // zero: now
}

// Appended says where a message is now. It is to be handed to Notify once the Update has returned nil.
type Appended struct {
	Account     mail.AccountID
	Mailbox     MailboxID
	UIDValidity uint32
	UID         UID
	Email       EmailID
	ModSeq      ModSeq

	octets, messages int64 // of the account, after it
}

// Usage is what an account holds, copies counted once.
type Usage struct {
	Account          mail.AccountID
	Octets, Messages int64
	ModSeq           ModSeq // of the last change
}

// Copied says where COPY and MOVE took messages (RFC 4315 §3, COPYUID): From[i] is now To[i]. Both ascend.
type Copied struct {
	UIDValidity uint32 // of the mailbox they were taken to
	From, To    []UID
}

// Changes is what differs between two snapshots of a mailbox.
type Changes struct {
	Expunged []UID // in the old one only, ascending
	Flags    []UID // in both, with another MODSEQ, ascending
	Added    int   // in the new one only: its last ones
}
