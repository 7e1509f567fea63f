//go:build !race

package message

// slowdown is what the race detector would cost.
const slowdown = 1
