// Package kvtest is the conformance suite of kv's backends, Strict, a wrapper for any backend that makes mistakes of its
// users visible, and Memory, a small store for tests in virtual time. Every backend runs Run plain and under Strict; packages that keep rows run their
// own tests under Strict.
package kvtest
