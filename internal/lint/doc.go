// Package lint holds the rules of the house that a compiler does not know, as tests over the source: which
// package may import which (imports go down only), how long a function may be, what may stand at package level,
// that every package says what it is for. Changing a table here is a decision about the design.
package lint
