// Package bus tells that something changed, after it is durable. Its notices are hints: losing one costs
// latency, never correctness, so whoever listens also looks by itself from time to time.
package bus

import "postel/internal/mail"

// Topic is what a notice is about.
type Topic struct {
	Kind Kind
	ID   uint64 // the account, or the queue's partition
}

// Kind is the kind of a topic.
type Kind uint8

// The kinds.
const (
	Account Kind = iota // ID is an account; the number of the notice its MODSEQ
	Queue               // something in the queue became due
	Nodes               // a node came or went, or gave a lease back
)

// OfAccount is the topic of an account.
func OfAccount(a mail.AccountID) Topic { return Topic{Account, uint64(a)} }

// Bus carries notices. Safe for concurrent use.
type Bus interface {
	// Publish tells all subscribers of the topic; it never blocks.
	Publish(t Topic, number uint64)
	// Subscribe gives a channel with a buffer of one that holds the newest number not yet taken, and a function
	// that ends the subscription (the channel is then closed).
	Subscribe(t Topic) (<-chan uint64, func())
}
