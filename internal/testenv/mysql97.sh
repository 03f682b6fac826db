#!/usr/bin/env bash
# Runs a command with a MySQL 9.7 server beside it:
#
#     mysql97.sh go test ./processor/sink/...
#
# The command finds the server's address in MILLRACE_TEST_MYSQL, as
# mysql://user:password@host:port/database; the user may do everything. Data
# and server are gone afterwards.
#
# Debian's stable releases have MariaDB only, so the server is taken from sid,
# in a folder tree of its own that is kept in the cache (about 560 MB). Needs
# root, for debootstrap and chroot.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

if [ "$EUID" -ne 0 ]; then
	echo "MySQL 9.7 runs in a tree made by debootstrap, which needs root" >&2
	exit 1
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/millrace-test
tree=$cache/mysql-sid
mkdir -p "$cache"
exec 9>"$tree.lock"
flock 9

if ! command -v debootstrap >/dev/null; then
	echo "installing: debootstrap"
	{ apt-get update && apt-get install -y --no-install-recommends debootstrap; } >/dev/null
fi
if [ ! -d "$tree" ]; then
	echo "fetching MySQL from Debian sid (once, about a minute)"
	temp=$(mktemp -d "$tree.tmp-XXXXXX")
	chmod 755 "$temp" # mktemp's 700 would shut out the users within
	# Removed again unless it became whole.
	trap 'rm -rf "$temp"' EXIT
	if ! debootstrap --variant=minbase --include=mysql-server-core sid "$temp" >"$temp.log" 2>&1; then
		tail -n 40 "$temp.log" >&2
		exit 1
	fi
	rm -f "$temp.log"
	mv "$temp" "$tree"
fi
# The lock lasts for the fetch only; each run has its own data and port.
flock -u 9
exec 9>&-

# Same range as port.go: below that of outgoing connections.
port=0
for _ in $(seq 100); do
	try=$((18000 + RANDOM % 14000))
	if ! (exec 3<>"/dev/tcp/127.0.0.1/$try") 2>/dev/null; then
		port=$try
		break
	fi
done

data=$(mktemp -d "$tree/tmp/data-XXXXXX")
inside=${data#"$tree"}
server=
finish() {
	if [ -n "$server" ]; then
		kill -KILL "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	rm -rf "$data"
}
trap finish EXIT

password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
cat >"$data/init.sql" <<SQL
CREATE DATABASE millrace;
CREATE USER millrace IDENTIFIED BY '$password';
GRANT ALL ON *.* TO millrace WITH GRANT OPTION;
SQL

mysqld=(chroot "$tree" mysqld --no-defaults --user=root --secure-file-priv=NULL
	"--datadir=$inside/db" "--log-error=$inside/log.err" --innodb-redo-log-capacity=32M)
echo "MySQL:$("${mysqld[@]:0:3}" --version | sed 's/.*Ver/ /')"
if ! "${mysqld[@]}" --initialize-insecure; then
	tail -n 40 "$data/log.err" >&2
	exit 1
fi
# Not UTC, so that a column read in the wrong zone is seen.
"${mysqld[@]}" --bind-address=127.0.0.1 "--port=$port" "--socket=$inside/s" "--pid-file=$inside/pid" \
	--mysqlx=OFF --skip-log-bin --default-time-zone=+05:30 "--init-file=$inside/init.sql" &
server=$!

for _ in $(seq 300); do
	grep -q 'ready for connections' "$data/log.err" && break
	if ! kill -0 "$server" 2>/dev/null; then
		tail -n 40 "$data/log.err" >&2
		exit 1
	fi
	sleep 0.2
done
grep -q 'ready for connections' "$data/log.err" || { tail -n 40 "$data/log.err" >&2; exit 1; }

MILLRACE_TEST_MYSQL="mysql://millrace:$password@127.0.0.1:$port/millrace" "$@"
