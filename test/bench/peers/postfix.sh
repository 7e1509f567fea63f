#!/bin/sh
# Postfix on loopback. usage: postfix.sh setup|start|stop|reset
# DELIVER=virtual (maildir, default) | lmtp (to Dovecot) | discard
# SMTP 127.0.0.1:2525; mail for user0 to user$((ACCOUNTS-1)) of bench.example is local, all else is relayed
# to RELAY_PORT (2626), with MX=1 by the MX that "loadgen dns" on 127.0.0.54:53 tells. Stock settings but for the limits named "tuned".
. "$(dirname "$0")/common.sh"
: "${MX:=0}" "${PROCS:=250}" "${DELIVER:=virtual}" "${RELAY_PORT:=2626}" "${LMTP_PORT:=2424}" "${PORT:=2525}" "${ACCOUNTS:=2}"
C=$DIR/etc
setup() {
	mkdir -p "$C" "$DIR/spool" "$DIR/data" "$DIR/vmail"
	chown postfix "$DIR/data"
	chown -R "$BUID:$BGID" "$DIR/vmail"
	case $DELIVER in
	lmtp) vt="lmtp:inet:127.0.0.1:$LMTP_PORT" ;;
	*) vt=$DELIVER ;;
	esac
	if [ "$MX" = 1 ]; then
		way="smtp_tcp_port = $RELAY_PORT"
	else
		way="relayhost = [127.0.0.1]:$RELAY_PORT
smtp_dns_support_level = disabled"
	fi
	echo "nameserver 127.0.0.54" >"$C/resolv.conf"
	seq 0 $((ACCOUNTS - 1)) | sed 's,.*,user&@bench.example user&/Maildir/,' >"$C/vmailbox"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
		-keyout "$C/key.pem" -out "$C/cert.pem" 2>/dev/null
	cat >"$C/main.cf" <<EOF
compatibility_level = 3.6
queue_directory = $DIR/spool
data_directory = $DIR/data
command_directory = $(command -v postfix | xargs dirname)
daemon_directory = ${POSTFIX_DAEMONS:-$(postconf -d -h daemon_directory)}
mail_owner = postfix
setgid_group = postdrop
maillog_file = $DIR/mail.log
maillog_file_prefixes = $DIR
myhostname = mx.bench.example
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
virtual_mailbox_domains = bench.example
virtual_mailbox_base = $DIR/vmail
virtual_mailbox_maps = texthash:$C/vmailbox
virtual_minimum_uid = 1
virtual_uid_maps = static:$BUID
virtual_gid_maps = static:$BGID
virtual_mailbox_limit = 0
virtual_transport = $vt
$way
smtputf8_enable = yes
message_size_limit = 100000000
# tuned: do not slow the intake down in favour of delivery, and allow 250 clients
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
default_process_limit = $PROCS
smtpd_tls_security_level = may
smtpd_tls_cert_file = $C/cert.pem
smtpd_tls_key_file = $C/key.pem
EOF
	cat >"$C/master.cf" <<EOF
127.0.0.1:$PORT inet n - n - - smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
EOF
}
case ${1:-} in
setup) setup ;;
start)
	stop_cg; setup
	[ "$MX" = 1 ] && own='mount --bind "$0/resolv.conf" /etc/resolv.conf && ' || own=
	"$LOADGEN" cg-exec -cg "$CG" -- unshare -m sh -c "${own}exec postfix -c \"\$0\" start" "$C" >>"$DIR/stdout.log" 2>&1
	;;
stop) postfix -c "$C" stop >>"$DIR/stdout.log" 2>&1 || true; stop_cg ;;
reset) rm -rf "$DIR/vmail" "$DIR/mail.log"; setup; postsuper -c "$C" -d ALL 2>/dev/null || true ;;
*) echo "usage: $0 setup|start|stop|reset" >&2; exit 2 ;;
esac
