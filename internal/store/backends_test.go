package store

import (
	"strings"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/kv/pgtest"
	"postel/internal/kv/postgres"
)

// server is the PostgreSQL of the tests below.
var server pgtest.Shared

// onPostgres is the test whose subtests have their rows there; all others have them in memory.
const onPostgres = "TestOnPostgres/"

// openRows gives empty rows, by the name of the test.
func openRows(t testing.TB) kv.Store {
	t.Helper()
	var k kv.Store
	var err error
	if strings.HasPrefix(t.Name(), onPostgres) {
		k, err = postgres.Open(t.Context(), postgres.Options{URL: server.URL(t), Views: 4})
	} else {
		k, err = pebble.OpenMemory()
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestOnPostgres runs the tests of this package once more, on PostgreSQL; one of them when time is short.
func TestOnPostgres(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Run("LifeOfAMessage", TestLifeOfAMessage)
		return
	}
	for name, test := range map[string]func(*testing.T){
		"Model": TestModel, "Concurrent": TestConcurrent, "LifeOfAMessage": TestLifeOfAMessage,
		"CopyGivesWay": TestCopyGivesWay, "CopyMeetsCleaner": TestCopyMeetsCleaner, "LogTruncated": TestLogTruncated,
		"JobsResume": TestJobsResume, "MailboxOrder": TestMailboxOrder, "Recent": TestRecent, "Quota": TestQuota,
		"AppendRefuses": TestAppendRefuses, "UIDsRunOut": TestUIDsRunOut, "Threads": TestThreads, "Body": TestBody,
		"Emails": TestEmails, "FromBlob": TestFromBlob, "DeleteAccount": TestDeleteAccount, "Maildrop": TestMaildrop,
		"TwoNodes": TestTwoNodes, "Damage": TestDamage,
	} {
		t.Run(name, test)
	}
}
