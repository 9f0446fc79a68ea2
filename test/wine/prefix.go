package wine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// Where Debian's package wine64 has its programs.
const (
	loader = "/usr/lib/wine/wine64"
	server = "/usr/lib/wine/wineserver"
)

// Prefix is what programs under Wine take for their machine.
type Prefix struct {
	dir       string   // immutable after New
	overrides []string // immutable after New
}

// New makes a prefix at dir, which must not exist, as a copy of one in the folder cache:
// it is made once for each version of Wine. Of the DLLs named in overrides, those that
// Install has put there are used, not Wine's own.
func New(ctx context.Context, cache, dir string, overrides ...string) (*Prefix, error) {
	pristine, err := pristine(ctx, cache)
	if err != nil {
		return nil, fmt.Errorf("make a Wine prefix: %w", err)
	}
	if err := copyTree(ctx, pristine, dir); err != nil {
		return nil, fmt.Errorf("make a Wine prefix: %w", err)
	}
	p := &Prefix{dir, overrides}
	dlls, err := Build(ctx, cache, map[string]DLL{"bcryptprimitives.dll": {Sources: map[string]string{"bcryptprimitives.c": goNeeds}, Libraries: []string{"advapi32"}}})
	if err == nil {
		err = p.Install(dlls, "bcryptprimitives.dll")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a Wine prefix: %w", err), os.RemoveAll(dir))
	}
	return p, nil
}

//go:embed stub/bcryptprimitives.c
var goNeeds string

// pristine returns the prefix that others are copies of.
func pristine(ctx context.Context, cache string) (string, error) {
	version, err := exec.CommandContext(ctx, loader, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%w: install wine64 (scripts/setup.sh wine)", err)
	}
	made := filepath.Join(cache, "prefix-"+strings.Join(strings.Fields(strings.TrimSpace(string(version))), "-"))
	if _, err := os.Stat(made); err == nil {
		return made, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	aside, err := os.MkdirTemp(cache, "prefix-new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(aside)
	p := &Prefix{dir: filepath.Join(aside, "prefix")}
	// To a file: programs that stay, such as the one that runs services, hold it open.
	said, err := os.Create(filepath.Join(aside, "wineboot.log"))
	if err != nil {
		return "", err
	}
	defer said.Close()
	boot := p.Command(ctx, "wineboot", "--init")
	boot.Stdout, boot.Stderr = said, said
	if err := boot.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		return "", fmt.Errorf("wineboot: %w\n%s", err, text)
	}
	// The registry is written when its server ends, a moment after the last program.
	if err := p.serverCommand(ctx, "-w").Run(); err != nil {
		return "", fmt.Errorf("wait for wineserver: %w", err)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "system.reg")); err != nil {
		return "", fmt.Errorf("wineboot made no registry: %w", err)
	}
	if err := os.Rename(p.dir, made); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err // else another was first, and as good
	}
	return made, nil
}

// copyTree copies by links where it can: what Wine changes in a prefix it writes aside and
// renames.
func copyTree(ctx context.Context, from, to string) error {
	if exec.CommandContext(ctx, "cp", "-al", from, to).Run() == nil {
		return nil
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy: %w: %s", err, out)
	}
	return nil
}

// Dir is the prefix's folder.
func (p *Prefix) Dir() string { return p.dir }

// Install puts DLLs of a folder where programs find Windows' own, in place of what is there.
func (p *Prefix) Install(dir string, names ...string) error {
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = atomicfile.Write(p.Path(`C:\windows\system32\`+name), b, 0o755)
		}
		if err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
	}
	return nil
}

// Remove takes away what Install put there.
func (p *Prefix) Remove(names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, os.Remove(p.Path(`C:\windows\system32\`+name)))
	}
	return errors.Join(errs...)
}

// Path is where a path on drive C: is on this machine.
func (p *Prefix) Path(windows string) string {
	return filepath.Join(p.dir, "drive_c", strings.ReplaceAll(windows[len(`C:\`):], `\`, "/"))
}

// Windows is what programs call a path of this machine.
func Windows(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

// Command runs a program, named by a path of this machine or by one that Windows looks up.
// Killing it kills the program as it is seen within, too. Its output should go to files:
// Wine's own programs, which the first one starts, hold a pipe open as long as they last.
func (p *Prefix) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if filepath.IsAbs(program) {
		program = Windows(program)
	}
	cmd := exec.CommandContext(ctx, loader, append([]string{program}, args...)...)
	cmd.Env = p.env()
	return cmd
}

func (p *Prefix) serverCommand(ctx context.Context, arg string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, server, arg)
	cmd.Env = p.env()
	return cmd
}

func (p *Prefix) env() []string {
	debug := os.Getenv("WINEDEBUG")
	if debug == "" {
		debug = "-all"
	}
	// Neither .NET nor a browser, which it would offer to fetch, nor entries in menus.
	overrides := "mscoree,mshtml,winemenubuilder.exe="
	if len(p.overrides) > 0 {
		overrides += ";" + strings.Join(p.overrides, ",") + "=n"
	}
	return append(os.Environ(), "WINEPREFIX="+p.dir, "WINEARCH=win64", "WINEDEBUG="+debug, "WINEDLLOVERRIDES="+overrides)
}

// Halt kills what runs in the prefix. The next program finds a machine that has just
// started.
func (p *Prefix) Halt(ctx context.Context) error {
	_ = p.serverCommand(ctx, "-k").Run() // fails when nothing runs
	if err := p.serverCommand(ctx, "-w").Run(); err != nil {
		return fmt.Errorf("end wineserver: %w", err)
	}
	return nil
}

// End is Halt, and removes the prefix.
func (p *Prefix) End(ctx context.Context) error {
	if err := p.Halt(ctx); err != nil {
		return err
	}
	return os.RemoveAll(p.dir)
}
