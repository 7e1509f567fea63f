package quota

import (
	"sync"
	"time"

	"postel/internal/mail"
	"postel/internal/store"
)

// sum is what the accounts of one domain hold.
type sum struct {
	making sync.Mutex // held by who makes it anew

	mu               sync.Mutex
	made             bool
	until            time.Time // when it is too old
	accounts         map[mail.AccountID]store.Usage
	octets, messages int64
}

func (s *sum) old(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !now.Before(s.until)
}

// known tells whether there is a sum, old or not.
func (s *sum) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made
}

// take takes a value that is newer than the one known.
func (s *sum) take(u store.Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(u)
}

func (s *sum) set(u store.Usage) {
	if s.accounts == nil {
		s.accounts = map[mail.AccountID]store.Usage{}
	}
	have := s.accounts[u.Account]
	if have.ModSeq >= u.ModSeq {
		return
	}
	s.accounts[u.Account] = u
	s.octets += u.Octets - have.Octets
	s.messages += u.Messages - have.Messages
}

// replace takes the values of all members, and drops and gives the accounts that are no members any more, or are gone.
func (s *sum) replace(members []mail.AccountID, usages []store.Usage) (gone []mail.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := make(map[mail.AccountID]bool, len(usages))
	for _, u := range usages {
		there[u.Account] = true
	}
	for id, u := range s.accounts {
		if !there[id] {
			delete(s.accounts, id)
			s.octets -= u.Octets
			s.messages -= u.Messages
			gone = append(gone, id)
		}
	}
	for _, id := range members {
		if !there[id] {
			gone = append(gone, id)
		}
	}
	for _, u := range usages {
		s.set(u)
	}
	s.made = true
	return gone
}
