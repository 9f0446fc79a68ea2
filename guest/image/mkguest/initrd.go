package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/guest/image/cpio"
)

// initrdEntries lays out the initrd, see package image.
func initrdEntries(files []part, modules []loadedModule) ([]cpio.Entry, error) {
	entries := []cpio.Entry{
		// The kernel opens it for PID 1 before anything can mount devtmpfs.
		{Name: "dev/console", Mode: cpio.TypeChar | 0o600, Major: 5, Minor: 1},
		{Name: "tmp", Mode: cpio.TypeDir | 0o1777},
	}
	for _, dir := range []string{"etc", "proc", "run", "sys"} {
		entries = append(entries, cpio.Entry{Name: dir, Mode: cpio.TypeDir | 0o755})
	}
	for _, f := range files {
		if f.Name == wantCrun.role {
			entries = append(entries, fileEntry(api.RuntimeVersionFile, 0o644, []byte(f.Version+"\n")))
		}
		entries = append(entries, fileEntry(f.Path, 0o755, f.content))
	}
	m, err := moduleEntries(modules)
	return append(entries, m...), err
}

var versionPattern = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+[-+.0-9A-Za-z]*\n$`)

// readAgent reads the program that becomes /init.
func readAgent(ctx context.Context, name string) (part, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return part{}, fmt.Errorf("read agent: %w; build it first: make build", err)
	}
	if err := checkProgram(content); err != nil {
		return part{}, fmt.Errorf("agent %s: %w; build it with CGO_ENABLED=0", name, err)
	}
	p := image.Part{Name: "agent", Path: "/init", Version: "unknown", Source: "porthole", Pinned: true}
	// An agent that does not say is one that was not built by this Makefile.
	if out, err := exec.CommandContext(ctx, name, "version").Output(); err == nil && versionPattern.Match(out) {
		p.Version = strings.TrimSpace(string(out))
	}
	return newPart(p, content), nil
}

// checkProgram checks that a program runs in a guest that has no libraries.
func checkProgram(content []byte) error {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("not a program: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 {
		return fmt.Errorf("made for %v, want x86-64: %w", f.Machine, errdefs.ErrInvalidArgument)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("linked dynamically, and the guest has no libraries: %w", errdefs.ErrInvalidArgument)
		}
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return fmt.Errorf("not a program but %v: %w", f.Type, errdefs.ErrInvalidArgument)
	}
	return nil
}
