package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/hcsemu"
	"github.com/porthole-run/porthole/test/wine"
)

// windowsVar names the folder with porthole.exe, and CNI plugins in cni: servers then run
// under Wine, on the emulator of Hyper-V. `make test-hcsemu` sets it.
const windowsVar = "PORTHOLE_E2E_WINDOWS"

// windows is the machine under Wine.
type windows struct {
	bin      string
	host     *harness.Windows
	emulator *hcsemu.Service
	prefix   *wine.Prefix
}

// hostFolders tells whether the server's host can show folders to pods. Wine cannot: Porthole keeps what NTFS lacks in
// extended attributes and reparse points, of which it has neither.
func hostFolders() bool { return env.windows == nil }

// hnsNetwork is what CNI's plugins find there.
const hnsNetwork = `{"Name":"porthole","Type":"L2Bridge","SchemaVersion":{"Major":2,"Minor":0},"Ipams":[{"Type":"Static","Subnets":[
	{"IpAddressPrefix":"10.88.0.0/16","Routes":[{"NextHop":"10.88.0.2","DestinationPrefix":"0.0.0.0/0"}]}]}]}`

// runWindows runs the suite with servers under Wine, and looks that nothing is left in the
// emulator, and nothing was done to it that is forbidden.
func runWindows(m *testing.M, bin string) (code int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cache := filepath.Join(env.cache, "wine")
	dir, err := os.MkdirTemp("", "pe2ew")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	w := &windows{bin: bin}
	if w.prefix, err = hcsemu.NewPrefix(ctx, cache, filepath.Join(dir, "prefix")); err != nil {
		return 0, err
	}
	log, err := os.Create(filepath.Join(os.TempDir(), "hcsemu.log"))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	w.emulator, err = hcsemu.Start(hcsemu.Config{
		Drives: hcsemu.PrefixDrives(w.prefix.Dir()),
		Log:    slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return 0, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, w.prefix.End(ctx), w.emulator.Close())
	}()
	if err := w.emulator.Install(ctx, cache, w.prefix); err != nil {
		return 0, err
	}
	if _, err := w.emulator.CreateNetwork(hnsNetwork); err != nil {
		return 0, err
	}
	w.host = &harness.Windows{
		Command: w.prefix.Command, Path: wine.Windows, Plugins: filepath.Join(bin, "cni"), Network: "porthole", Addresses: "10.88",
	}
	env.windows = w
	flag.Parse() // first: else the command line takes the place of what is set below, when the tests begin
	if err := errors.Join(leaveOut(), pickSubset()); err != nil {
		return 0, err
	}
	if code, err = runAll(m); err != nil {
		return code, err
	}
	for _, misuse := range w.emulator.Misuse() {
		fmt.Fprintln(os.Stderr, "misuse of HCS:", misuse)
		code = 1
	}
	return code, nil
}
