package hcsemu

import (
	"context"
	"embed"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/porthole-run/porthole/internal/atomicfile"
	"github.com/porthole-run/porthole/test/wine"
)

//go:embed dll
var sources embed.FS

// dlls are the DLLs, by name, with their own sources and libraries.
var dlls = map[string][]string{
	"computecore.dll":    {"computecore.c", "hvsock.c"},
	"computenetwork.dll": {"computenetwork.c"},
	"vmcompute.dll":      {"vmcompute.c"},
	"virtdisk.dll":       {"virtdisk.c"},
}

// serviceFile is where the DLLs find the service, beside them.
const serviceFile = `C:\windows\system32\hcsemu.service`

// NewPrefix makes a Wine prefix at dir that uses the emulator's DLLs, which Install puts
// there. What is built is kept in the folder cache.
func NewPrefix(ctx context.Context, cache, dir string) (*wine.Prefix, error) {
	var overrides []string
	for name := range dlls {
		overrides = append(overrides, name[:len(name)-len(".dll")])
	}
	slices.Sort(overrides)
	return wine.New(ctx, cache, dir, overrides...)
}

// Install puts the DLLs into a prefix of NewPrefix, and where the service is.
func (s *Service) Install(ctx context.Context, cache string, p *wine.Prefix) error {
	set := map[string]wine.DLL{}
	for name, own := range dlls {
		d := wine.DLL{Sources: map[string]string{}, Libraries: []string{"ws2_32", "ole32"}}
		for _, file := range append([]string{"emu.c", "emu.h"}, own...) {
			b, err := sources.ReadFile(path.Join("dll", file))
			if err != nil {
				return fmt.Errorf("install the emulator: %w", err)
			}
			d.Sources[file] = string(b)
		}
		set[name] = d
	}
	built, err := wine.Build(ctx, cache, set)
	if err == nil {
		err = p.Install(built, slices.Sorted(maps.Keys(set))...)
	}
	if err == nil {
		err = atomicfile.Write(p.Path(serviceFile), []byte(s.Address()), 0o600)
	}
	if err != nil {
		return fmt.Errorf("install the emulator: %w", err)
	}
	return nil
}

// Uninstall takes the service's address away, as of one that has gone.
func Uninstall(p *wine.Prefix) error {
	if err := os.Remove(p.Path(serviceFile)); err != nil {
		return fmt.Errorf("uninstall the emulator: %w", err)
	}
	return nil
}
