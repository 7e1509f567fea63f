# make          bin/postel, one static binary
# make run      a complete mail system on loopback
# make test     all tests, with nothing but Go
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
TOOL    := $(GO) tool -modfile=tools/go.mod

TESTFLAGS ?=
RACEFLAGS ?= -short
RACE_PKGS ?= ./internal/...
FUZZTIME  ?= 10s

.PHONY: all run test race fuzz bench crash powerloss faults months check fmt clean

all:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/postel ./cmd/postel

run: all
	bin/postel dev

# Without cgo, as the program is built: what is tested is what runs, and no C compiler is needed.
test:
	CGO_ENABLED=0 $(GO) test $(TESTFLAGS) ./cmd/... ./internal/...
	CGO_ENABLED=0 $(GO) test $(TESTFLAGS) -count=1 ./test/... # they run a binary that Go's test cache knows nothing of

race:
	CGO_ENABLED=1 $(GO) test -race $(RACEFLAGS) $(RACE_PKGS)

# Every fuzz target in turn; what one finds stays in its package's testdata/fuzz.
fuzz:
	@FUZZTIME=$(FUZZTIME) GO=$(GO) tools/fuzz

bench:
	@GO=$(GO) tools/bench $(ROWS)

# kill -9 in a loop: what was acknowledged is there exactly once, nothing shown is taken back.
crash:
	POSTEL_CRASH_CYCLES=$(or $(CYCLES),1000) $(GO) test ./test/crash -run TestKill9 -v -timeout 120m

# The same with the power of the disk cut, on ext4 and on xfs; as root, who may mount.
powerloss:
	POSTEL_POWER_CYCLES=$(or $(CYCLES),500) $(GO) test ./test/crash -run 'TestPowerLoss|TestFailedSync' -v -timeout 120m

# Each call to the file system fails in turn, under everything that keeps mail.
faults:
	POSTEL_FAULTS=100000 $(GO) test ./test/faults -v -timeout 60m

# Thirty days of a queue with random outages, in virtual time: each recipient ends exactly once.
months:
	POSTEL_MONTHS=$(or $(MONTHS),1000) $(GO) test ./internal/mta -run TestMonth -timeout 60m

# Format, vet, staticcheck, modules, generated files; the tests of internal/lint hold the table of imports.
check:
	@GO=$(GO) tools/check

fmt:
	$(TOOL) gofumpt -w cmd internal $(wildcard test)

clean:
	rm -rf bin
