package route

import (
	"fmt"
	"strings"
	"time"
)

// Limits bound what goes by one rule, of all its domains together. What is zero is as for mail without a rule.
type Limits struct {
	PerMinute int // messages
	Sessions  int // at once
	// When an attempt follows another: after the first failure, at most after, and until when since it was accepted.
	First, Max, Lifetime time.Duration
}

// say tells people of the bounds.
func (l *Limits) say() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if l.PerMinute > 0 {
		add("%d messages a minute", l.PerMinute)
	}
	if l.Sessions > 0 {
		add("%d sessions at once", l.Sessions)
	}
	if l.First > 0 {
		add("tried again after %v", l.First)
	}
	if l.Max > 0 {
		add("at least every %v", l.Max)
	}
	if l.Lifetime > 0 {
		add("given up after %v", l.Lifetime)
	}
	return strings.Join(parts, ", ")
}
