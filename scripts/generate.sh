#!/usr/bin/env bash
# Makes the protobuf and ttrpc code anew from the .proto files. With --check it only
# says whether what is committed is what would be made.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v protoc >/dev/null || { echo "generate: protoc is missing: apt-get install protobuf-compiler" >&2; exit 1; }
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -modfile=tools/go.mod -o "$bin/" google.golang.org/protobuf/cmd/protoc-gen-go github.com/containerd/ttrpc/cmd/protoc-gen-go-ttrpc
for proto in $(git ls-files '*.proto'); do
  dir=$(dirname "$proto")
  out=$dir
  [ "${1:-}" != --check ] || { out=$bin/$dir; mkdir -p "$out"; }
  PATH=$bin:$PATH protoc -I "$dir" --go_out="$out" --go_opt=paths=source_relative \
    --go-ttrpc_out="$out" --go-ttrpc_opt=paths=source_relative "$(basename "$proto")"
  if [ "${1:-}" = --check ]; then
    for f in "$out"/*.pb.go; do
      cmp -s "$f" "$dir/$(basename "$f")" || { echo "generate: $dir/$(basename "$f") is not what $proto makes: run make generate" >&2; exit 1; }
    done
  fi
done
