//go:build race

package message

// slowdown is what the race detector costs.
const slowdown = 10
