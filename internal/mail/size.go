package mail

import (
	"math"
	"strconv"
	"strings"
)

// ParseSize reads a number of octets as people write it: "1500", "50MiB", "2 GiB", "1TB" (KB, MB, GB and TB are powers of
// 1000). Kind Invalid.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTiB")
	unit := s[len(digits):]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	per, ok := map[string]int64{
		"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	}[unit]
	if err != nil || !ok || n < 0 || n > math.MaxInt64/per {
		return 0, E("mail.size", Invalid, "%.40q is no size: want octets, as 1500, 50MiB or 2GiB", s)
	}
	return n * per, nil
}

// ShowSize writes a number of octets as ParseSize reads it, exactly.
func ShowSize(n int64) string {
	for _, u := range []struct {
		name string
		per  int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.per && n%u.per == 0 {
			return strconv.FormatInt(n/u.per, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
