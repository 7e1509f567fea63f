// Package dsn writes and reads delivery status notifications: the multipart/report of RFC 6522 with the fields of
// RFC 3464, the options of RFC 3461 (ENVID, ORCPT, RET), and the internationalised forms of RFC 6533.
//
// It is pure: the caller decides who is told what and when, and hands the original message as a reader. A report has
// three parts: a text for people, the status for programs, and the original message or its header. Memory is bounded
// by Report.Limit; what is returned never goes beyond it.
//
// A report that is to be sent with the null reverse path and without NOTIFY (RFC 3461 §6.1) says so in nothing but
// its envelope, which is the caller's.
package dsn
