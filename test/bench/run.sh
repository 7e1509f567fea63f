#!/bin/bash
# run.sh <row|profile>...: see README.md
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
: "${BENCH_DIR:?}" "${OUT:?}" "${RUNS:=3}" "${BENCH_LOCK:=${TMPDIR:-/tmp}/bench.lock}" "${IMAPTEST_LIB:=}"
: "${MSGS:=4000}" "${SLOWMSGS:=1000}" "${DRAIN:=10000}" "${BIG:=20000}" "${CONNS:=1000}" "${MILLION:=1000000}" "${LIMIT:=300}"
export BENCH_DIR BENCH_LOCK
mkdir -p "$BENCH_DIR" "$OUT"
NEEDLE=zyzzyvaquartz # in one message of a hundred
ROWS="fsync null sessions deliver deliver1000 relay drain imap append store idle pop3 startup million imaptest"
rows=() profiles=()
for a in "$@"; do case " $ROWS " in *" $a "*) rows+=("$a") ;; *) profiles+=("$a") ;; esac; done

lg() { row=$1; shift; timeout "$LIMIT" loadgen "$@" | tee -a "$OUT/$row.jsonl"; }
peer() { "$HERE/peers/$SCRIPT.sh" "$1"; }

profile() {
	# Defaults, then the profile.
	NAME=$1 SCRIPT=$1 SMTP= RELAY= RELAY_OPTS= RELAY_TO='a@d%d.example' IMAP= POP3= LOGIN= FROM= RCPT=user1@bench.example
	CGS= COUNT= COUNT_ALL= OPTS= N=$MSGS FILL=append AUX=
	unset FSYNC FORMAT
	. "$HERE/peers/$1.env"
	: "${CGS:=mailbench-$SCRIPT}"
}

reset() { [ -z "$AUX" ] || "$HERE/peers/$AUX.sh" reset; peer reset; }
up() { [ -z "$AUX" ] || "$HERE/peers/$AUX.sh" start; peer start; for a in $SMTP $IMAP; do timeout 30 loadgen wait-ready -addr "$a" >/dev/null; done; }
down() { peer stop; [ -z "$AUX" ] || "$HERE/peers/$AUX.sh" stop; }

row_fsync() {
	for m in append create group; do for c in 1 10 50; do lg fsync fsync -dir "$BENCH_DIR" -mode $m -c $c -secs 2; done; done
	lg fsync fsync -dir "$BENCH_DIR" -mode group -c 200 -secs 2
}
# What the client and the dialogue take by themselves, without a disk and with one fdatasync for all messages that wait.
row_null() {
	for d in "" "$BENCH_DIR/sink"; do
		[ -z "$d" ] || mkdir -p "$d"
		loadgen smtp-sink -addr 127.0.0.1:2699 -n 1000000000 -timeout 5m ${d:+-sync "$d"} >/dev/null & sp=$!
		timeout 30 loadgen wait-ready -addr 127.0.0.1:2699 >/dev/null
		for c in 1 10 50 200; do lg null smtp-send -label null${d:+-sync} -addr 127.0.0.1:2699 -to u@bench.example -n $((c > 1 ? 10000 : 2000)) -c $c; done
		for c in 1 10 50; do lg null smtp-send -label null${d:+-sync}-kept -per-conn 0 -addr 127.0.0.1:2699 -to u@bench.example -n $((c > 1 ? 20000 : 2000)) -c $c; done
		kill $sp
	done
}
row_deliver() {
	reset; up
	deliver "" "$RCPT" "$COUNT"
	down
}
# What is accepted, in sessions of 1 and of 100 messages, and by other ways of sending; 5 MB beside what the disk takes.
row_sessions() {
	export PROCS=1100
	reset; up
	s="smtp-send -cg $CGS -addr $SMTP -to $RCPT ${FROM:+-from $FROM} $OPTS $LOGIN"
	for k in 1 100; do for c in 1 10 50 200 1000; do
		n=$N; [ $c = 1 ] && n=$((N / 4)); [ $k = 100 ] && [ $c -ge 50 ] && n=$((N * 4))
		lg sessions $s -label "$NAME-x$k" -per-conn $k -pipeline -n $n -c $c
	done; done
	for k in 1 100; do
		lg sessions $s -label "$NAME-x$k-plain" -per-conn $k -n $N -c 50
		lg sessions $s -label "$NAME-x$k-tls" -per-conn $k -pipeline -starttls -n $N -c 50
		lg sessions $s -label "$NAME-x$k-chunk" -per-conn $k -bdat -n $N -c 50
	done
	for c in 1 10; do
		lg sessions fsync -label "$NAME-disk" -dir "$BENCH_DIR" -mode create -size 5242880 -c $c -secs 3
		for how in "" -starttls -bdat; do lg sessions $s -label "$NAME-5mb$how" -per-conn 0 -size 5242880 -n $((20 * c)) -c $c $how; done
	done
	down
	unset PROCS
}
# To a thousand mailboxes, each of which has got one message before.
row_deliver1000() {
	export ACCOUNTS=1000
	reset; up
	loadgen smtp-send -addr $SMTP -to user%d@bench.example -users 1000 ${FROM:+-from $FROM} -n 1000 -c 50 $LOGIN -count "$COUNT_ALL" >/dev/null
	deliver -1000 "user%d@bench.example -users 1000" "$COUNT_ALL"
	down
}
# deliver VARIANT TO COUNT
deliver() {
	for c in 1 10 50 200; do
		n=$N; [ $c = 1 ] && n=$((N / 4))
		lg deliver smtp-send -label "$NAME$1" -cg "$CGS" -addr $SMTP -to $2 ${FROM:+-from $FROM} -n $n -c $c $OPTS $LOGIN -count "$3"
	done
	lg deliver smtp-send -label "$NAME$1-kept" -per-conn 0 -cg "$CGS" -addr $SMTP -to $2 ${FROM:+-from $FROM} -n $N -c 50 $OPTS $LOGIN -count "$3"
}
# Taken and sent on to Postfix's smtp-sink; 50 domains.
row_relay() {
	reset; up
	for c in 1 10 50; do
		n=$N; [ $c = 1 ] && n=$((N / 4))
		lg relay relay -smtp-sink -label "$NAME" -cg "$CGS" -addr ${RELAY:-$SMTP} -to "$RELAY_TO" -users 50 -n $n -c $c $OPTS $RELAY_OPTS
	done
	down
}
# The sink listens and greets nobody before all is in the queue. To a thousand domains both look for each one's MX.
row_drain() {
	for d in ${DOMAINS:-1 1000}; do
		export MX=$((d > 1))
		reset; up
		lg relay relay -gate -smtp-sink -label "$NAME-drain-$d" -cg "$CGS" -addr ${RELAY:-$SMTP} -to "$RELAY_TO" -users $d -n $DRAIN -c 50 $OPTS $RELAY_OPTS
		down
	done
	unset MX
}
row_imap() {
	I="-addr $IMAP -cg $CGS $OPTS $LOGIN"
	up
	lg fill imap-fill $I -label "$NAME" -mailbox big -n $BIG -c 8
	lg fill imap-fill $I -label "$NAME" -mailbox body -n 2000 -c 8
	lg fill imap-fill $I -label "$NAME" -mailbox huge -n 20 -size 10485760 -c 1
	peer stop; up
	lg imap imap-fetch $I -label "$NAME-first" -mailbox big -repeat 1
	lg imap imap-fetch $I -label "$NAME-warm" -mailbox big -repeat 5 -fresh
	lg imap imap-fetch $I -label "$NAME-flags" -mailbox big -items FLAGS -repeat 5
	lg imap imap-fetch $I -label "$NAME-envelope" -mailbox big -items ENVELOPE -repeat 5
	lg imap imap-search $I -label "$NAME" -mailbox big -cmds "SEARCH UNSEEN;SEARCH SUBJECT invoice;SEARCH FROM \"Sender 7\";SEARCH TEXT $NEEDLE;SEARCH BODY $NEEDLE"
	lg imap imap-fetch $I -label "$NAME-body" -mailbox body -items 'BODY.PEEK[]' -repeat 5
	lg imap imap-fetch $I -label "$NAME-each" -mailbox body -items 'BODY.PEEK[]' -each
	lg imap imap-fetch $I -label "$NAME-huge" -mailbox huge -items 'BODY.PEEK[]' -repeat 5
	down
}
row_append() {
	up
	for c in 1 20; do lg append imap-append -addr $IMAP -cg $CGS $OPTS $LOGIN -label "$NAME" -mailbox append$c -n $SLOWMSGS -c $c; done
	down
}
row_store() {
	I="-addr $IMAP -cg $CGS $OPTS $LOGIN"
	up
	loadgen imap-fill $I -mailbox body -n 2000 -c 8 >/dev/null
	for c in 1 10; do lg store imap-store $I -label "$NAME" -mailbox body -n $SLOWMSGS -c $c; done
	down
}
# Dovecot watches a directory a connection; the default of 128 would leave it deaf.
row_idle() {
	inotify=/proc/sys/fs/inotify/max_user_instances
	had=$(cat $inotify 2>/dev/null)
	[ -z "$had" ] || [ "$had" -ge 8192 ] || { trap 'echo $had >$inotify' EXIT; echo 8192 >$inotify; }
	up
	lg idle imap-idle -addr $IMAP -cg $CGS $OPTS $LOGIN -label "$NAME" -n $CONNS -login-c 20
	down
}
row_pop3() {
	[ -n "$POP3" ] || return 0
	up
	lg pop3 imap-fill -addr $IMAP $OPTS $LOGIN -mailbox INBOX -n 2000 >/dev/null
	lg pop3 pop3-retr -addr $POP3 -cg $CGS $OPTS $LOGIN -label "$NAME" -n 2000
	lg pop3 pop3-retr -addr $POP3 -cg $CGS $OPTS $LOGIN -label "$NAME-pipelined" -n 2000 -window 50
	down
}
row_startup() {
	peer stop
	timeout 30 loadgen wait-ready -label "$NAME" -addr ${IMAP:-$SMTP} >>"$OUT/startup.jsonl" & w=$!
	peer start
	wait $w
	sleep 3
	lg startup cg-stat -cg $CGS -label "$NAME-idle"
	down
}
# A million messages in a thousand mailboxes: what they take on the disk, the start after kill -9, memory at rest and with
# a thousand sessions, each in a mailbox of its own.
row_million() {
	export ACCOUNTS=1000
	reset; up
	LIMIT=3000 lg million smtp-send -label "$NAME-million" -per-conn 0 -cg "$CGS" -addr $SMTP -to user%d@bench.example -users 1000 -n $MILLION -c 50 $LOGIN -count "$COUNT_ALL" -timeout 50m
	echo "{\"cmd\":\"disk\",\"label\":\"$NAME\",\"kb_per_message\":$(du -sk --exclude=ballast "$BENCH_DIR/$SCRIPT/data" | awk -v n=$MILLION '{printf "%.3f", $1/n}')}" | tee -a "$OUT/million.jsonl"
	loadgen cg-kill -now -cg "$CGS"
	timeout 60 loadgen wait-ready -label "$NAME-million" -addr $SMTP >>"$OUT/million.jsonl" & w=$!
	peer start
	wait $w
	sleep 5
	lg million cg-stat -cg $CGS -label "$NAME-million"
	lg million imap-idle -addr $IMAP -cg $CGS $OPTS -user user%d@bench.example -pass benchpass1 -users 1000 -label "$NAME-million" -n 1000 -login-c 20
	down
}
row_imaptest() {
	up
	[ -e "$BENCH_DIR/it.mbox" ] || loadgen mbox-gen -file "$BENCH_DIR/it.mbox" -n 500
	set -- $LOGIN; u=$2 p=$4
	for c in 1 10 50; do
		loadgen imap-fill -addr $IMAP $OPTS $LOGIN -mailbox itest$c -n 1 >/dev/null
		LD_LIBRARY_PATH=$IMAPTEST_LIB timeout 60 imaptest host=${IMAP%:*} port=${IMAP#*:} user=$u pass=$p mbox="$BENCH_DIR/it.mbox" \
			box=itest$c clients=$c secs=15 no_tracking msgs=200 >"$OUT/imaptest-$NAME-$c.txt" 2>&1
		# The last line of nothing but numbers holds the count of each command.
		awk -v l="$NAME" -v c=$c '/^[ 0-9]+$/{t=$0} END{n=split(t,a," "); for(i=1;i<=n;i++) s+=a[i]; printf "{\"cmd\":\"imaptest\",\"label\":\"%s\",\"c\":%d,\"commands_per_s\":%.1f,\"errors\":%d}\n", l, c, s/15, e} /[Ee]rror|BAD|NO /{e++}' \
			"$OUT/imaptest-$NAME-$c.txt" | tee -a "$OUT/imaptest.jsonl"
	done
	down
}

# under the lock: two runs would share one DNS, and lose it when the first ends
measure() {
	profile "$2"
	exec 9>"$BENCH_LOCK"
	flock 9
	loadgen dns -addr 127.0.0.54:53 >/dev/null 9>&- & DNS=$!
	(row_$1) 9>&-
	kill $DNS 2>/dev/null
	wait $DNS 2>/dev/null
	exec 9>&-
}
trap 'kill ${DNS:-} 2>/dev/null' EXIT
for ((run = 1; run <= RUNS; run++)); do
	for r in "${rows[@]}"; do
		case $r in
		fsync | null) exec 9>"$BENCH_LOCK"; flock 9; (row_$r) 9>&-; exec 9>&- ;;
		*) for p in "${profiles[@]}"; do measure "$r" "$p"; done ;;
		esac
	done
done
