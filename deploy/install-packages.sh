#!/bin/sh
# Installs the Debian packages that development needs and that aren't there: python, dovecot, servers (all of
# them) or peers (other programs that fetch mail, for measurements).
# As an ordinary user it installs nothing, and names what is missing. With --try, what can't be had is no failure.
# Tests start the servers themselves, on private ports: an installation starts none.
set -eu

try=no
if [ "${1:-}" = --try ]; then
    try=yes
    shift
fi
what=${1:?python, dovecot, servers or peers}

missing=""
need() { # need PACKAGE TEST…: the package is missing unless the test succeeds
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
found() { PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH" command -v "$1"; }

case $what in
python)
    need python3-venv "${PYTHON:-python3}" -c 'import ensurepip, venv'
    ;;
dovecot | servers)
    need dovecot-core found dovecot
    need dovecot-pop3d test -x /usr/lib/dovecot/pop3
    need dovecot-lmtpd test -x /usr/lib/dovecot/lmtp
    if [ "$what" = servers ]; then
        need postgresql test -n "$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null)"
        need rabbitmq-server found rabbitmq-server
        need postfix found postfix
        need microsocks found microsocks
        need libfaketime test -n "$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null)"
        need libmailutils9 test -n "$(ls /usr/lib/*/libmailutils.so.9 2>/dev/null)"
        need libmu-dbm9 test -n "$(ls /usr/lib/*/libmu_dbm.so.9 2>/dev/null)"
    fi
    ;;
peers)
    need mpop found mpop
    need fdm found fdm
    need fetchmail found fetchmail
    need safecat found safecat
    need getmail6 found getmail
    ;;
*)
    echo "install-packages.sh: $what is not python, dovecot, servers or peers" >&2
    exit 2
    ;;
esac
if [ "$what" = python ] && [ -z "$missing" ]; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "Python 3.11 or newer is needed: make PYTHON=python3.11" >&2
        exit 1
    }
fi

# Debian's package conflicts with Dovecot's: it is unpacked here, beside the libraries that are installed.
unpack() { # unpack PACKAGE FILE FOLDER: the package's files go into the folder, unless the file is there
    [ ! -e "$3/$2" ] || return 0
    command -v apt-get >/dev/null && mkdir -p "$3" || return 0
    (cd "$3" && { apt-get --quiet download "$1" || { apt-get --quiet update && apt-get --quiet download "$1"; }; } \
        && dpkg-deb --extract "$1"_*.deb . && rm -f "$1"_*.deb) >/dev/null 2>&1 || echo "could not unpack $1" >&2
}
[ "$what" != servers ] || unpack mailutils-pop3d usr/sbin/pop3d "$(dirname "$0")/../build/mailutils"
[ "$what" != servers ] || unpack popa3d usr/sbin/popa3d "$(dirname "$0")/../build/popa3d"
# Of Prometheus only promtool is needed, which tests the alerts: installed, the server would start.
[ "$what" != servers ] || unpack prometheus usr/bin/promtool "$(dirname "$0")/../build/prometheus"
rm -f "$(dirname "$0")/../build/prometheus/usr/bin/prometheus"
[ -n "$missing" ] || exit 0

give_up() {
    [ "$try" = no ] || exit 0
    echo "$1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || give_up "missing packages; install them as root: apt-get install --no-install-recommends$missing"
command -v apt-get >/dev/null || give_up "no apt-get here; install what corresponds to Debian's:$missing"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM

# Debian's own switch: 101 forbids maintainer scripts to start services. An administrator's switch stays untouched.
guard=/usr/sbin/policy-rc.d
if [ ! -e $guard ]; then
    trap 'rm -f "$log" $guard' EXIT
    printf '#!/bin/sh\nexit 101\n' >$guard
    chmod 755 $guard
fi

apt() { DEBIAN_FRONTEND=noninteractive apt-get --yes --quiet -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1; }
echo "installing$missing" >&2
# shellcheck disable=SC2086 # the list is split on purpose
if ! apt install --no-install-recommends $missing; then
    apt update && apt install --no-install-recommends $missing || {
        tail -n 20 "$log" >&2
        give_up "could not install$missing"
    }
fi
