#!/usr/bin/env bash
# Collects what a GPU machine without cargo needs into bundle/ (ignored by git): the program and the test
# binary, stripped and compressed, for scripts/gpu-check.sh, which unpacks them, and the commit. The source
# tree (fixtures, scripts, benches) is expected beside it there.
#
# Usage: scripts/bundle.sh        then, on the GPU machine: bash scripts/gpu-check.sh
#        scripts/bundle.sh --sources    print the checksum of what is built, which says whether a bundle is old
#   FLIPSIDE_REQUIRE_CUDA=0       without nvcc: for `gpu-check.sh emulated` alone
set -euo pipefail
cd "$(dirname "$0")/.."

sources() {
    find Cargo.lock Cargo.toml build.rs build src kernels models tests -type f \
        \( -name '*.rs' -o -name '*.cu' -o -name '*.cuh' -o -name '*.h' -o -name '*.cpp' -o -name '*.mutant' \
        -o -name '*.toml' -o -name '*.lock' \) -print0 | LC_ALL=C sort -z | xargs -0 cat | cksum
}
if (($#)); then
    [ "$*" = --sources ] || { echo "bundle: there is no option $*" >&2; exit 2; }
    sources
    exit
fi

export FLIPSIDE_REQUIRE_CUDA=${FLIPSIDE_REQUIRE_CUDA:-1}
[ "$FLIPSIDE_REQUIRE_CUDA" = 1 ] && bash scripts/get-nvcc.sh
rm -rf bundle
mkdir bundle

# Where cargo put the executable of the one target that its messages tell of.
executable() {
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1
}
cp "$(cargo build --release --bin flipside --message-format=json | executable)" bundle/flipside
cp "$(cargo test --release --test flipside --no-run --message-format=json |
    grep -F '"kind":["test"]' | executable)" bundle/tests
strip bundle/*
# Both hold the same kernels: xz's window of 64 MiB sees them once.
tar -cf - -C bundle flipside tests | xz -9e > bundle/bundle.tar.xz
rm bundle/flipside bundle/tests
git describe --always --abbrev=40 --dirty --exclude '*' > bundle/commit
sources > bundle/sources

du -m bundle/* | awk '{ total += $1; print } END { printf "%d\tMiB in all\n", total; exit total > 50 }' ||
    { echo "bundle: larger than 50 MiB" >&2; exit 1; }
