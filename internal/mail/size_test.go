package mail

import "testing"

func TestSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"0": 0, "1500": 1500, "1KiB": 1024, "50MiB": 50 << 20, "2 GiB": 2 << 30, "1TB": 1e12, "3MB": 3e6, "7B": 7, "8388607TiB": 8388607 << 40,
		"": -1, "GiB": -1, "-1": -1, "1.5GiB": -1, "1gib": -1, "1KiBMiB": -1, "8388608TiB": -1, "9223372036854775808": -1, "1 x": -1, "B1": -1,
	} {
		n, err := ParseSize(in)
		if want < 0 {
			if !Is(err, Invalid) {
				t.Errorf("%q: %d, %v", in, n, err)
			}
			continue
		}
		if back, err2 := ParseSize(ShowSize(n)); err != nil || n != want || err2 != nil || back != n {
			t.Errorf("%q: %d, %v; shown %s", in, n, err, ShowSize(n))
		}
	}
}
