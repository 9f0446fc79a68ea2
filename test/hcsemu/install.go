package hcsemu

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/porthole-run/porthole/internal/atomicfile"
)

// compiler makes DLLs (Debian's gcc-mingw-w64-x86-64).
const compiler = "x86_64-w64-mingw32-gcc"

//go:embed dll
var sources embed.FS

// dlls are the DLLs, by name, with their own sources and libraries.
var dlls = map[string][]string{
	"bcryptprimitives.dll": {"bcryptprimitives.c", "-ladvapi32"},
	"computecore.dll":      {"computecore.c", "hvsock.c", "emu.c", "-lws2_32", "-lole32"},
	"computenetwork.dll":   {"computenetwork.c", "emu.c", "-lws2_32", "-lole32"},
	"vmcompute.dll":        {"vmcompute.c", "emu.c", "-lws2_32", "-lole32"},
	"virtdisk.dll":         {"virtdisk.c", "emu.c", "-lws2_32", "-lole32"},
}

// ServiceFile is where the DLLs find the service, beside them.
const ServiceFile = "hcsemu.service"

// BuildDLLs compiles the DLLs into a folder below cache that is named for their sources, unless
// it is there, and returns it.
func BuildDLLs(ctx context.Context, cache string) (string, error) {
	sum := sha256.New()
	tmp, err := os.MkdirTemp("", "hcsemu")
	if err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	defer os.RemoveAll(tmp)
	names, err := fs.Glob(sources, "dll/*")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		b, err := sources.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, filepath.Base(name)), b, 0o644)
		}
		if err != nil {
			return "", fmt.Errorf("build DLLs: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", name, len(b), b)
	}
	dir := filepath.Join(cache, "hcsemu-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	out := filepath.Join(tmp, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	for name, args := range dlls {
		cmd := exec.CommandContext(ctx, compiler, slices.Concat([]string{"-shared", "-O2", "-Wall", "-Werror", "-s", "-o", filepath.Join("out", name)}, args)...)
		cmd.Dir = tmp
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, text)
		}
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	// Copied aside and renamed: whoever was first is as good.
	aside, err := os.MkdirTemp(cache, "hcsemu-new")
	if err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	defer os.RemoveAll(aside)
	if err := os.CopyFS(filepath.Join(aside, "dlls"), os.DirFS(out)); err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	if err := os.Rename(filepath.Join(aside, "dlls"), dir); err != nil {
		if _, there := os.Stat(dir); there != nil {
			return "", fmt.Errorf("build DLLs: %w", err)
		}
	}
	return dir, nil
}

// Install puts the DLLs of a folder into the system folder of a Wine prefix, and where the
// service is.
func (s *Service) Install(dllDir, prefix string) error {
	system := filepath.Join(prefix, "drive_c", "windows", "system32")
	for name := range dlls {
		b, err := os.ReadFile(filepath.Join(dllDir, name))
		if err == nil {
			err = atomicfile.Write(filepath.Join(system, name), b, 0o755)
		}
		if err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
	}
	if err := atomicfile.Write(filepath.Join(system, ServiceFile), []byte(s.Address()), 0o600); err != nil {
		return fmt.Errorf("install %s: %w", ServiceFile, err)
	}
	return nil
}

// Overrides is what WINEDLLOVERRIDES must have for the DLLs to be used.
const Overrides = "computecore,computenetwork,vmcompute,virtdisk=n"
