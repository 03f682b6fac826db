#!/usr/bin/env bash
# Writes the Go code of every .proto file beside it, with the protoc-gen-go that
# go.mod of this folder pins. With --check it writes nothing and fails if the
# committed code is stale.
set -euo pipefail
cd "$(dirname "$0")/../.."

mapfile -t protos < <(find . -name '*.proto' -not -path './.*/*' | sed 's|^\./||' | sort)
[ ${#protos[@]} -gt 0 ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -modfile=internal/tools/go.mod -o "$work/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go

out=.
if [ "${1-}" = --check ]; then
	out=$work/out
	mkdir "$out"
fi
for proto in "${protos[@]}"; do
	dir=$(dirname "$proto")
	mkdir -p "$out/$dir"
	protoc --plugin="$work/protoc-gen-go" -I "$dir" \
		--go_out="$out/$dir" --go_opt=paths=source_relative "$(basename "$proto")"
done
[ "$out" != . ] || exit 0

# The comment with protoc's version differs from machine to machine.
same() { diff -q <(grep -v '^// [[:space:]]*protoc ' "$1") <(grep -v '^// [[:space:]]*protoc ' "$2") >/dev/null; }
stale=0
for proto in "${protos[@]}"; do
	file=${proto%.proto}.pb.go
	if [ ! -f "$file" ] || ! same "$file" "$out/$file"; then
		echo "$file is stale: run make generate" >&2
		stale=1
	fi
done
exit $stale
