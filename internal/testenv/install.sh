#!/usr/bin/env bash
# Installs what the tests need beside Go, and only what is missing. As root on
# Debian or Ubuntu it does so; anywhere else it says what to install and fails.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

has() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1; }

java_version() { java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1; }

missing=()
# The race detector links with a C compiler.
has gcc || missing+=(gcc libc6-dev)
# Kafka 4 needs Java 17.
{ has java && [ "$(java_version)" -ge 17 ]; } || missing+=(default-jdk-headless)
has mvn || missing+=(maven)
# The -core packages: programs without a service that would start by itself.
{ has mariadbd && has mariadb-install-db && has my_print_defaults; } ||
	missing+=(mariadb-server-core mariadb-client-core)
has protoc || missing+=(protobuf-compiler)
# Clients in other languages that the Binance double is tried with.
has node || missing+=(nodejs)
has npm || missing+=(npm)
{ has python3 && python3 -m pip --version >/dev/null 2>&1; } || missing+=(python3 python3-pip)

[ ${#missing[@]} -gt 0 ] || exit 0

# One line of output here; the rest only if it fails.
command="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$EUID" -ne 0 ] || ! has apt-get; then
	echo "The tests need programs that are not installed. Install them (as root) with:" >&2
	echo "    $command" >&2
	exit 1
fi
echo "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && $command; } >"$log" 2>&1; then
	tail -n 40 "$log" >&2
	echo "failed: $command" >&2
	exit 1
fi
