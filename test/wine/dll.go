package wine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// compiler is of Debian's package gcc-mingw-w64-x86-64.
const compiler = "x86_64-w64-mingw32-gcc"

// DLL is what one is made from.
type DLL struct {
	Sources   map[string]string // by file name; those in .h are not compiled by themselves
	Libraries []string          // "ole32"
}

// Build compiles DLLs, by their names, into a folder below cache that is named for what
// they are made from, unless it is there, and returns it.
func Build(ctx context.Context, cache string, dlls map[string]DLL) (string, error) {
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(dlls)) {
		d := dlls[name]
		fmt.Fprintf(sum, "%q %q\n", name, d.Libraries)
		for _, file := range slices.Sorted(maps.Keys(d.Sources)) {
			fmt.Fprintf(sum, "%q %q\n", file, d.Sources[file])
		}
	}
	made := filepath.Join(cache, "dlls-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(made); err == nil {
		return made, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	aside, err := os.MkdirTemp(cache, "dlls-new-")
	if err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	defer os.RemoveAll(aside)
	out := filepath.Join(aside, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", fmt.Errorf("build DLLs: %w", err)
	}
	for name, d := range dlls {
		if err := d.compile(ctx, filepath.Join(aside, name+".src"), filepath.Join(out, name)); err != nil {
			return "", fmt.Errorf("build %s: %w", name, err)
		}
	}
	if err := os.Rename(out, made); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("build DLLs: %w", err) // else another was first, and as good
	}
	return made, nil
}

func (d DLL) compile(ctx context.Context, dir, out string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	args := []string{"-shared", "-O2", "-Wall", "-Werror", "-s", "-o", out}
	for _, file := range slices.Sorted(maps.Keys(d.Sources)) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(d.Sources[file]), 0o644); err != nil {
			return err
		}
		if filepath.Ext(file) != ".h" {
			args = append(args, file)
		}
	}
	for _, l := range d.Libraries {
		args = append(args, "-l"+l)
	}
	cmd := exec.CommandContext(ctx, compiler, args...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w (scripts/setup.sh wine installs the compiler)\n%s", err, text)
	}
	return nil
}
