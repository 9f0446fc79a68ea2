#!/usr/bin/env bash
# Makes the protobuf and ttrpc code anew from the .proto files, and Windows' calls from their //sys
# lines. With --check it only says whether what is committed is what would be made.
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

# Calls of Windows, from the //sys lines of the files that have them.
for src in $(git ls-files '*syscall_windows.go' | xargs grep -l '^//sys' | grep -v '/zsyscall_windows.go'); do
  dst=$(dirname "$src")/zsyscall_windows.go
  go run golang.org/x/sys/windows/mkwinsyscall -output "$bin/zsyscall_windows.go" "$src"
  if [ "${1:-}" = --check ]; then
    cmp -s "$bin/zsyscall_windows.go" "$dst" || { echo "generate: $dst is not what $src makes: run make generate" >&2; exit 1; }
  else
    cp "$bin/zsyscall_windows.go" "$dst"
  fi
done
