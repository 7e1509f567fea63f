// Package upgrade brings stored rows from an older format to the newest one. It knows no format itself: a Migration
// does, made by the owner of the rows and listed by app.
//
// The row sv "format" holds the format's version, a big-endian u32; data without it, but with rows, is of format 1.
// While a migration is under way the row
//
//	sv "upgrade"   version octet 1, u32 the format that is made, then the key from which its next step goes on
//
// tells how far it is. A step is one transaction: what it writes and where the next one begins commit together, so that
// a process that is killed anywhere goes on where it was, and no row is changed twice. Before the first step Prepare
// takes a snapshot and sees to it that older programs refuse the data from now on.
//
// Nothing else may use the rows meanwhile.
package upgrade
