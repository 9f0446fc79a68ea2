package hcsemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Debian's Wine for 64-bit programs.
const (
	Wine       = "/usr/lib/wine/wine64"
	wineServer = "/usr/lib/wine/wineserver"
)

// Prefix is a Wine prefix of its own.
type Prefix struct {
	Dir string
}

// NewPrefix makes a prefix at dir, which must not exist, as a copy of one in cache, which is
// made once for each version of Wine.
func NewPrefix(ctx context.Context, cache, dir string) (*Prefix, error) {
	version, err := exec.CommandContext(ctx, Wine, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("make prefix: %w (apt-get install wine64)", err)
	}
	template := filepath.Join(cache, "prefix-"+strings.TrimSpace(string(version)))
	if _, err := os.Stat(template); err != nil {
		if err := os.MkdirAll(cache, 0o755); err != nil {
			return nil, fmt.Errorf("make prefix: %w", err)
		}
		aside, err := os.MkdirTemp(cache, "prefix-new")
		if err != nil {
			return nil, fmt.Errorf("make prefix: %w", err)
		}
		defer os.RemoveAll(aside)
		p := &Prefix{Dir: filepath.Join(aside, "prefix")}
		if out, err := p.Command(ctx, "wineboot", "--init").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("make prefix: %w\n%s", err, out)
		}
		if err := p.End(ctx); err != nil {
			return nil, err
		}
		if err := os.Rename(p.Dir, template); err != nil {
			return nil, fmt.Errorf("make prefix: %w", err)
		}
	}
	// Links where that can be: what is written is written aside and renamed.
	out, err := exec.CommandContext(ctx, "cp", "-al", template, dir).CombinedOutput()
	if err != nil {
		_ = os.RemoveAll(dir)
		out, err = exec.CommandContext(ctx, "cp", "-a", template, dir).CombinedOutput()
	}
	if err != nil {
		return nil, fmt.Errorf("make prefix: %w\n%s", err, out)
	}
	return &Prefix{Dir: dir}, nil
}

// Command is a command line of Windows, run in the prefix.
func (p *Prefix) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, Wine, append([]string{name}, args...)...)
	cmd.Env = append(os.Environ(), p.Env()...)
	return cmd
}

// Env is what a program under Wine needs of the environment.
func (p *Prefix) Env() []string {
	debug := os.Getenv("WINEDEBUG")
	if debug == "" {
		debug = "-all"
	}
	return []string{
		"WINEPREFIX=" + p.Dir, "WINEDEBUG=" + debug, "WINEARCH=win64",
		// Neither .NET nor a browser, which it would ask for, nor menus.
		"WINEDLLOVERRIDES=mscoree,mshtml,winemenubuilder.exe=;" + Overrides,
	}
}

// End ends all that runs in the prefix, and waits for that.
func (p *Prefix) End(ctx context.Context) error {
	for _, how := range []string{"-k", "-w"} {
		cmd := exec.CommandContext(ctx, wineServer, how)
		cmd.Env = append(os.Environ(), p.Env()...)
		if out, err := cmd.CombinedOutput(); err != nil && how == "-w" {
			return fmt.Errorf("end prefix: %w\n%s", err, out)
		}
	}
	return nil
}
