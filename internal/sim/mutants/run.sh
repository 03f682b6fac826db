#!/usr/bin/env bash
# Plants each bug of this folder in a copy of the sources, and says after how
# many seeds the simulator finds it. run.sh [SEEDS [NAME...]]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
seeds=${1:-1000}
shift || true
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$root" && git ls-files -z -- go.mod go.sum '*.go' 'schema/*' | tar --null -cf - -T - ) | tar -xf - -C "$copy"
cd "$copy"
missed=0
for patch in "$here"/*.patch; do
	name=$(basename "$patch" .patch)
	if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
	patch -p1 -s <"$patch"
	if go test -c -tags synctests -o sim.test ./internal/sim 2>build.txt; then
		(cd internal/sim && ../../sim.test -test.run TestSeeds -sim.seeds "$seeds" -sim.first >"$copy/out.txt" 2>&1) || true
		passed=$(sed -n 's/^\([0-9]*\) passed, .*/\1/p' out.txt)
		how=$(grep -m1 -E '^SEED|does not end' out.txt | cut -c1-110 || true)
		if [ -n "$how" ]; then
			printf '%-32s found after %4s  %s\n' "$name" "$((${passed:-0} + 1))" "$how"
		elif [ -n "$passed" ]; then
			printf '%-32s NOT FOUND in %s seeds\n' "$name" "$passed"
			missed=$((missed + 1))
		else
			printf '%-32s ended: %s\n' "$name" "$(grep -m1 -E '^(panic|fatal)' out.txt || tail -1 out.txt)"
		fi
	else
		printf '%-32s does not build: %s\n' "$name" "$(head -2 build.txt | tail -1)"
		missed=$((missed + 1))
	fi
	patch -p1 -s -R <"$patch"
done
exit $((missed > 0))
