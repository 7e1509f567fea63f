package backup

// Verify reads one archive through, whatever it builds on, and names what of it is damaged.
func (a *Archive) Verify() Selected {
	var s Selected
	for _, x := range a.accounts {
		a.listed(x)
		s.Accounts++
		for _, m := range x.messages {
			if size, ok := a.whole(m.at); ok {
				s.Messages++
				s.Bytes += size
			} else {
				a.damage(Damage{Account: x.info.Address, Message: uint64(m.email), Offset: m.at, Text: "it is damaged"})
			}
		}
		if x.rows >= 0 {
			if _, b, err := a.payload(x.rows); err != nil || !rowsGood(b) {
				a.damage(Damage{Account: x.info.Address, Offset: x.rows, Text: "its settings and password are damaged"})
			}
		}
	}
	for _, at := range a.shared {
		if _, b, err := a.payload(at); err != nil || !rowsGood(b) {
			a.damage(Damage{Offset: at, Text: "what is shared of the directory is damaged"})
		}
	}
	for _, at := range a.queue {
		if _, ok := a.whole(at); ok {
			s.Queue++
		} else {
			a.damage(Damage{Offset: at, Text: "an item of the queue is damaged"})
		}
	}
	s.Damaged = a.Damaged
	return s
}

func rowsGood(b []byte) bool {
	_, err := decodeRows(b)
	return err == nil
}

// whole tells whether a message and its body can be read, and how long the body is.
func (a *Archive) whole(at int64) (int64, bool) {
	h, b, err := a.payload(at)
	if err != nil {
		return 0, false
	}
	l, err := decodeLetter(b)
	if err != nil {
		return 0, false
	}
	err = a.bodyParts(&h, at, l.size-int64(len(l.body)), func(uint32, []byte) error { return nil })
	return l.size, err == nil
}
