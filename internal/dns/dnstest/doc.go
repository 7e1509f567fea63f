// Package dnstest is a DNS server for tests: authoritative for a zone text, over real UDP and TCP on loopback,
// with faults on demand and a count of what was asked. It validates nothing; names are called authentic when the
// test says so.
package dnstest
