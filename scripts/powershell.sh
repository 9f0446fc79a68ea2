#!/usr/bin/env bash
# Parses the PowerShell scripts of deploy/windows. There is no PowerShell in Debian: the grammar is
# tree-sitter's, from npm, and the parser's runtime a Go module. That they are parsed says that they are
# PowerShell, and call what is there; what they do on Windows has to be seen there.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.26.4
sum=92f0ce6497f1456248eb1a2d74c567cdfb1328cccd573c1a48d1b7c4e76b53e3
cache=${PORTHOLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/porthole}/powershell-${sum:0:16}
command -v gcc >/dev/null || { echo "powershell: gcc is missing: scripts/setup.sh test" >&2; exit 1; }
if [ ! -e "$cache/grammar.so" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  curl -fsSL --retry 3 -o "$work/grammar.tgz" "https://registry.npmjs.org/tree-sitter-powershell/-/tree-sitter-powershell-$version.tgz"
  echo "$sum  $work/grammar.tgz" | sha256sum --quiet -c
  tar -xzf "$work/grammar.tgz" -C "$work" package/src
  gcc -shared -fPIC -O1 -o "$work/grammar.so" -I"$work/package/src" "$work/package/src/parser.c" "$work/package/src/scanner.c"
  mkdir -p "$cache"
  mv "$work/grammar.so" "$cache/grammar.so"
fi
check=$(mktemp)
trap 'rm -rf "$check" "${work:-}"' EXIT
(cd tools && CGO_ENABLED=1 go build -o "$check" ./pscheck)
"$check" "$cache/grammar.so" deploy/windows/*.ps1
# A check that cannot fail says nothing: each of these is to be refused.
bad=$(mktemp -d)
trap 'rm -rf "$check" "$bad" "${work:-}"' EXIT
# shellcheck disable=SC2016 # these are PowerShell's
for text in 'if ($a) { 1' 'function { ' '$x = @(1,' 'try { 1 } catch' 'param([string]$a' '"unended' \
  '$a = $b' '"$($c)"' 'Get-WindowsFeatures' 'Test-Path -LiteralPaths x' 'Get-WindowsFeature -Name x' \
  'function A { param($B) $B }; A -C 1' '# ä'; do
  printf '%s\n' "$text" > "$bad/bad.ps1"
  if "$check" "$cache/grammar.so" "$bad/bad.ps1" 2>/dev/null; then
    echo "powershell: '$text' was taken for PowerShell" >&2
    exit 1
  fi
done
