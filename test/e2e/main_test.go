package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/porthole-run/porthole/test/registry/debimage"
)

// env is what all tests share: binaries, the guest bundle, images, a registry and one
// server. Tests that kill or reconfigure a server start one of their own.
var env struct {
	bin      string // folder of porthole, porthole-agent, crictl
	guest    string // folder of the guest bundle
	cache    string
	registry *fixtureRegistry
	server   *server
	windows  *windows // where servers run under Wine; nil: on Linux
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	env.bin, env.guest = os.Getenv("PORTHOLE_BIN"), os.Getenv("PORTHOLE_GUEST")
	env.cache = os.Getenv("PORTHOLE_CACHE")
	if env.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return 0, err
		}
		env.cache = filepath.Join(dir, "porthole")
	}
	if os.Getenv("PORTHOLE_E2E") == "fetch" {
		_, err := debimage.Sample(context.Background(), filepath.Join(env.cache, "debs"))
		return 0, err
	}
	if dir := os.Getenv(windowsVar); dir != "" {
		return runWindows(m, dir)
	}
	return runAll(m)
}

// runAll runs the suite.
func runAll(m *testing.M) (int, error) {
	for _, need := range []string{filepath.Join(env.bin, "porthole"), filepath.Join(env.bin, "crictl"), filepath.Join(env.guest, "manifest.json")} {
		if _, err := os.Stat(need); err != nil {
			return 0, fmt.Errorf("%w: run `make e2e`, which builds it and sets PORTHOLE_BIN and PORTHOLE_GUEST", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var err error
	if env.registry, err = startRegistry(ctx); err != nil {
		return 0, err
	}
	defer env.registry.Close()
	dir, err := os.MkdirTemp("", "pe2e")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if env.server, err = newServer(dir, serverConfig{}); err != nil {
		return 0, err
	}
	if err := env.server.Start(ctx); err != nil {
		return 0, err
	}
	if err := env.server.AwaitTemplates(ctx); err != nil {
		return 0, err
	}
	code := m.Run()
	if err := env.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	if code != 0 {
		env.server.DumpLog(os.Stderr)
	}
	return code, nil
}
