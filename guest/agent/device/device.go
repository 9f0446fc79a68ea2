package device

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Guest is the hardware.
type Guest struct {
	Sys string // where sysfs is
	// Load loads a module by its name or alias; NotFound when there is none.
	Load func(name string) error

	mu sync.Mutex // held while a number of pages is read and written
}

// Find makes sure that the kernel has a driver for a device. InvalidArgument when there is
// none, or no hardware for it.
func (g *Guest) Find(d specs.LinuxDevice) error {
	kind, ok := map[string]string{"c": "char", "u": "char", "b": "block"}[d.Type]
	if !ok {
		return fmt.Errorf("type %q: %w", d.Type, errdefs.ErrInvalidArgument)
	}
	at := filepath.Join(g.Sys, "dev", kind, fmt.Sprintf("%d:%d", d.Major, d.Minor))
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	// As the kernel asks when a node without a driver is opened.
	err := g.Load(fmt.Sprintf("%s-major-%d-%d", kind, d.Major, d.Minor))
	if _, serr := os.Stat(at); serr == nil {
		return nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("the guest's kernel cannot have it: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return fmt.Errorf("the guest has none: %w", errdefs.ErrInvalidArgument)
}

// PageSizes are the sizes of huge pages that the kernel has, in CRI's form ("2MB").
func (g *Guest) PageSizes() []string {
	var out []string
	dirs, _ := filepath.Glob(filepath.Join(g.Sys, "kernel/mm/hugepages/hugepages-*kB")) // the pattern is right
	for _, dir := range dirs {
		kb, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err == nil {
			out = append(out, sizeName(kb))
		}
	}
	slices.Sort(out)
	return out
}

func sizeName(kb uint64) string {
	for _, u := range []struct {
		name string
		kb   uint64
	}{{"GB", 1 << 20}, {"MB", 1 << 10}} {
		if kb >= u.kb && kb%u.kb == 0 {
			return strconv.FormatUint(kb/u.kb, 10) + u.name
		}
	}
	return strconv.FormatUint(kb, 10) + "KB"
}

// AllowPages lets the kernel make bytes more of huge pages of a size when programs want
// them. Until then they take nothing; a guest without enough memory in one piece refuses
// them then. What was allowed stays: the limits of containers hold them to their own.
func (g *Guest) AllowPages(size string, bytes uint64) error {
	kb, err := sizeKB(size)
	if err != nil {
		return err
	}
	pages := bytes / 1024 / kb
	file := filepath.Join(g.Sys, fmt.Sprintf("kernel/mm/hugepages/hugepages-%dkB/nr_overcommit_hugepages", kb))
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("allow huge pages of %s: %w", size, err)
	}
	now, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return fmt.Errorf("allow huge pages of %s: %w", size, err)
	}
	if pages > math.MaxInt64-now {
		pages = math.MaxInt64 - now // no limit, as others call it
	}
	if err := os.WriteFile(file, []byte(strconv.FormatUint(now+pages, 10)), 0); err != nil {
		return fmt.Errorf("allow huge pages of %s: %w", size, err)
	}
	return nil
}

// sizeKB is the way back from a size's name.
func sizeKB(size string) (uint64, error) {
	for suffix, kb := range map[string]uint64{"KB": 1, "MB": 1 << 10, "GB": 1 << 20} {
		if n, ok := strings.CutSuffix(size, suffix); ok {
			v, err := strconv.ParseUint(n, 10, 32)
			if err == nil && v > 0 {
				return v * kb, nil
			}
		}
	}
	return 0, fmt.Errorf("page size %q: %w", size, errdefs.ErrInvalidArgument)
}
