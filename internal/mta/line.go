package mta

// line is destinations that wait for a session, the first the one that has waited longest. What each step costs does not
// depend on how many wait. Guarded by the scheduler's lock.
type line struct{ dests []*destination }

// add puts a destination at the end, unless it is in a line already.
func (l *line) add(d *destination) {
	if !d.waits {
		d.waits = true
		l.dests = append(l.dests, d)
	}
}

// next takes the first out.
func (l *line) next() *destination {
	d := l.dests[0]
	l.dests[0] = nil
	l.dests = l.dests[1:]
	d.waits = false
	return d
}

func (l *line) empty() bool { return len(l.dests) == 0 }

// serveLines gives sessions that have ended to those who wait for one: of a lane, and of all. Under the lock.
func (s *scheduler) serveLines(l *lane) {
	if l.starved() { // into the other line, if all sessions are taken
		for room := l.limits.Sessions - l.sessions; room > 0 && l.starved(); {
			if d := l.line.next(); len(d.ready) > 0 {
				s.start(d)
				room--
			}
		}
	}
	for s.workers < s.m.o.Concurrency.All && !s.line.empty() {
		s.start(s.line.next())
	}
}
