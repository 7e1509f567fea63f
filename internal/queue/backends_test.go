package queue

import (
	"os"
	"strings"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/kv/pgtest"
	"postel/internal/kv/postgres"
	"postel/internal/vfs"
)

// server is the PostgreSQL of the tests below.
var server pgtest.Shared

func TestMain(m *testing.M) { os.Exit(server.Main(m)) }

// onPostgres is the test whose subtests have their rows there; all others have them in fs.
const onPostgres = "TestOnPostgres/"

// openRows opens rows, by the name of the test: those in fs may be there already.
func openRows(t testing.TB, fs vfs.FS) kv.Store {
	t.Helper()
	var k kv.Store
	var err error
	if strings.HasPrefix(t.Name(), onPostgres) {
		k, err = postgres.Open(t.Context(), postgres.Options{URL: server.URL(t), Views: 4})
	} else {
		k, err = pebble.Open(pebble.Options{FS: fs, Dir: "/kv", MemTableSize: 1 << 20})
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
		t.Run("Life", TestLife)
		return
	}
	for name, test := range map[string]func(*testing.T){
		"Model": TestModel, "AddShow": TestAddShow, "AddLimits": TestAddLimits, "Life": TestLife, "Operate": TestOperate,
		"HoldWhileLeased": TestHoldWhileLeased, "Kick": TestKick, "Shares": TestShares, "List": TestList,
		"NodesShare": TestNodesShare, "BusyPartitionStays": TestBusyPartitionStays, "TakeOver": TestTakeOver,
		"OperateAnywhere": TestOperateAnywhere,
	} {
		t.Run(name, test)
	}
}
