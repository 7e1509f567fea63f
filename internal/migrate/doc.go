// Package migrate copies all that a server keeps from one backend to another: every row, and every large body. Both
// sides are the caller's alone while it works; it looks for nodes that are alive on either before it begins and once
// more at the end.
//
// Rows are copied in the order of their keys, some thousand in a transaction, which also sets the mark:
//
//	sv "migrate"      version(1) source[32] key…      the last key copied; source is a digest of the source's secret
//
// As long as the mark stands, the target is no store: a server refuses it (Unfinished). A run that was interrupted goes
// on behind the mark when it is asked to; without a mark a target that has rows is refused, and never written to. What
// belongs to one place only is not copied: the backend's format row, nodes, leases and the mark.
//
// Then every large body is copied as it lies, its octets read back and compared. At last both sides are read whole: for
// each table the number of rows, of octets and a SHA-256 over all keys and values must agree; only then the mark goes.
package migrate
