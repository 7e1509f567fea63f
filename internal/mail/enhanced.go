package mail

import "strconv"

// Enhanced is an enhanced mail system status code, class.subject.detail (RFC 3463 §2). Zero means none.
type Enhanced [3]uint16

// String gives "5.1.1", or "" for none.
func (c Enhanced) String() string {
	if c[0] == 0 {
		return ""
	}
	b := strconv.AppendUint(make([]byte, 0, 17), uint64(c[0]), 10)
	b = strconv.AppendUint(append(b, '.'), uint64(c[1]), 10)
	return string(strconv.AppendUint(append(b, '.'), uint64(c[2]), 10))
}

// Permanent tells whether the class is 5, so that a retry is of no use (RFC 3463 §3.1).
func (c Enhanced) Permanent() bool { return c[0] == 5 }
