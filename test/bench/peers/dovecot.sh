#!/bin/sh
# Dovecot 2.3 on loopback. usage: dovecot.sh setup|start|stop|reset
# IMAP 127.0.0.1:2143, POP3 2110, LMTP 2424. Any user, password "pass".
# More than 128 IDLE connections: raise fs.inotify.max_user_instances first, or
# notification and hibernation stop working (and the log says so).
# FSYNC=optimized (default: changes of flags are not synced) | always
# FORMAT=maildir (default) | sdbox | mdbox; HIBERNATE=0 | seconds
. "$(dirname "$0")/common.sh"
: "${FORMAT:=maildir}" "${FSYNC:=optimized}" "${HIBERNATE:=0}" "${IMAP_PORT:=2143}" "${POP3_PORT:=2110}" "${LMTP_PORT:=2424}"
setup() {
	mkdir -p "$DIR/run" "$DIR/state" "$DIR/vmail"
	chown "$BUID:$BGID" "$DIR/vmail"
	hib="0"; [ "$HIBERNATE" = 0 ] || hib="${HIBERNATE}s"
	case $FORMAT in maildir) loc="maildir:~/Maildir" ;; *) loc="$FORMAT:~/$FORMAT" ;; esac
	cat >"$DIR/dovecot.conf" <<EOF
base_dir = $DIR/run
state_dir = $DIR/state
instance_name = bench
protocols = imap pop3 lmtp
listen = 127.0.0.1
log_path = $DIR/dovecot.log
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
first_valid_uid = 1
mail_location = $loc
mail_fsync = $FSYNC
mail_max_userip_connections = 100000
imap_hibernate_timeout = $hib
passdb {
  driver = static
  args = password=pass
}
userdb {
  driver = static
  args = uid=$BUID gid=$BGID home=$DIR/vmail/%n allow_all_users=yes
}
# tuned: login processes serve many connections; limits raised
service imap-login {
  service_count = 0
  client_limit = 10000
  process_min_avail = 2
  inet_listener imap {
    port = $IMAP_PORT
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  service_count = 0
  inet_listener pop3 {
    port = $POP3_PORT
  }
  inet_listener pop3s {
    port = 0
  }
}
service lmtp {
  client_limit = 1
  inet_listener lmtp {
    port = $LMTP_PORT
  }
}
service imap {
  process_limit = 8000
  unix_listener imap-master {
    user = \$default_internal_user
  }
}
service imap-hibernate {
  client_limit = 20000
  unix_listener imap-hibernate {
    mode = 0666
  }
}
service anvil {
  client_limit = 20000
}
service auth {
  client_limit = 20000
}
protocol lmtp {
  postmaster_address = postmaster@bench.example
  auth_username_format = %n
}
EOF
}
case ${1:-} in
setup) setup ;;
start) stop_cg; setup; ulimit -n 20000 2>/dev/null || true; "$LOADGEN" cg-exec -cg "$CG" -- dovecot -c "$DIR/dovecot.conf" >>"$DIR/stdout.log" 2>&1 ;;
stop) doveadm -c "$DIR/dovecot.conf" stop >>"$DIR/stdout.log" 2>&1 || true; stop_cg ;;
reset) rm -rf "$DIR/vmail" "$DIR/dovecot.log"; setup ;;
*) echo "usage: $0 setup|start|stop|reset" >&2; exit 2 ;;
esac
