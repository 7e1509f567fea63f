#!/bin/sh
# Postel on loopback. usage: postel.sh start|stop|reset
# SMTP 127.0.0.1:6525, submission 6587, IMAP 6143, POP3 6110; user1@bench.example, password benchpass1;
# other domains are relayed by MX to RELAY_PORT (2626) through "loadgen dns" on 127.0.0.54:53.
# ACCOUNTS=n: reset also makes user0 to user$((n-1)), once, and copies them from then on.
. "$(dirname "$0")/common.sh"
: "${POSTEL:=postel}" "${RELAY_PORT:=2626}" "${ACCOUNTS:=0}"
start() {
	stop_cg
	start_bg "$POSTEL" dev --data "$DIR/data" --domain bench.example --account user1@bench.example:benchpass1 \
		--deliver relay --dns 127.0.0.54:53 --mx-port "$RELAY_PORT" \
		--port smtp=6525 --port submission=6587 --port submissions=6465 --port imap=6143 --port imaps=6993 \
		--port pop3=6110 --port pop3s=6995 --port web=6080 --port lmtp=6424 --port odmr=off
}
reset() {
	rm -rf "$DIR/data"
	[ "$ACCOUNTS" -gt 0 ] || return 0
	if [ ! -d "$DIR/accounts-$ACCOUNTS" ]; then
		start
		timeout 30 "$LOADGEN" wait-ready -addr 127.0.0.1:6525 >/dev/null
		"$LOADGEN" accounts -sock "$DIR/data/control.sock" -n "$ACCOUNTS" -c 4 -pass benchpass1
		stop_cg
		mv "$DIR/data" "$DIR/accounts-$ACCOUNTS"
	fi
	cp -a "$DIR/accounts-$ACCOUNTS" "$DIR/data"
}
case ${1:-} in
start) start ;;
stop) stop_cg ;;
reset) reset ;;
*) echo "usage: $0 start|stop|reset" >&2; exit 2 ;;
esac
