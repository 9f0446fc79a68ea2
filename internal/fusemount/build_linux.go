package fusemount

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// relayVar names a relay that is there already.
const relayVar = "PORTHOLE_RELAY"

// relaySource is where the relay's text is, below the repository's root.
var relaySource = filepath.Join("guest", "image", "relay", "relay.c")

// relayFlags are those of guest/image/mkguest/recipe/relay.sh that a host's compiler
// takes as they are.
var relayFlags = []string{
	"-O2", "-std=gnu11", "-pthread", "-Wall", "-Wextra", "-Werror", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2",
}

// BuildRelay builds the relay of the source tree that the working directory is in, for
// tests and tools on the host, and returns its path below dir. It is built once for each
// text. PORTHOLE_RELAY, when it is set, is the answer instead.
func BuildRelay(ctx context.Context, dir string) (string, error) {
	if path := os.Getenv(relayVar); path != "" {
		return path, nil
	}
	source, err := findSource()
	if err != nil {
		return "", fmt.Errorf("build relay: %w", err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return "", fmt.Errorf("build relay: %w", err)
	}
	sum := sha256.Sum256(text)
	path := filepath.Join(dir, "porthole-relay-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tmp, err := os.MkdirTemp(dir, "porthole-relay-build-")
	if err != nil {
		return "", fmt.Errorf("build relay: %w", err)
	}
	defer os.RemoveAll(tmp)
	built := filepath.Join(tmp, "relay")
	cmd := exec.CommandContext(ctx, "gcc", append(relayFlags, "-o", built, source)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build relay: %w\n%s", err, out)
	}
	if err := os.Rename(built, path); err != nil {
		return "", fmt.Errorf("build relay: %w", err)
	}
	return path, nil
}

// findSource looks for the relay's text in the working directory and those above it.
func findSource() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		source := filepath.Join(dir, relaySource)
		if _, err := os.Stat(source); err == nil {
			return source, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("no %s in any folder above: %w", relaySource, os.ErrNotExist)
		}
	}
	return "", err
}
