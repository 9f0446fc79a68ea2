#!/usr/bin/env bash
# Makes out/dist/porthole-VERSION-SYSTEM-amd64.zip|.tar.gz, each with its .sha256 beside it. Called by
# make dist, which sets OUT, VERSION, GUEST and LDFLAGS. SIGN names a program that is run with the folder
# of each release before it is packed: what it signs in place is listed and packed as it left it.
set -euo pipefail
cd "$(dirname "$0")/.."
dist=$OUT/dist
rm -rf "$dist"
mkdir -p "$dist/bin"
go build -trimpath -o "$dist/bin/mkdist" ./deploy/mkdist
for target in windows:porthole.exe:zip linux:porthole:tar.gz; do
  IFS=: read -r system program suffix <<< "$target"
  name=porthole-$VERSION-$system-amd64
  GOOS=$system GOARCH=amd64 go build -trimpath -ldflags "$LDFLAGS" -o "$dist/bin/$system/$program" ./cmd/porthole
  "$dist/bin/mkdist" stage -os "$system" -bin "$dist/bin/$system/$program" -guest "$GUEST" -version "$VERSION" -out "$dist/$name"
  [ -z "${SIGN:-}" ] || "$SIGN" "$dist/$name"
  "$dist/bin/mkdist" seal -dir "$dist/$name" -out "$dist/$name.$suffix"
  echo "$dist/$name.$suffix"
done
rm -rf "$dist/bin"
