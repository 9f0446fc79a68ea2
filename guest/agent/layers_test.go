//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/guest/agent/disk"
)

// slowDisks takes a second for a layer, and fails for one LUN.
type slowDisks struct {
	Disks
	bad uint32 // 0: none

	mu      sync.Mutex
	mounted map[string]uint32
	ejected []uint32
}

func (d *slowDisks) MountLayer(ctx context.Context, a disk.Address, target string) error {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.LUN == d.bad {
		return errInjected
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mounted[target] = a.LUN
	return nil
}

func (d *slowDisks) Unmount(_ context.Context, target string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.mounted, target)
	return nil
}

func (d *slowDisks) Eject(a disk.Address) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ejected = append(d.ejected, a.LUN)
	return nil
}

// TestUseLayers: layers are mounted side by side and returned in order; each once.
func TestUseLayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisks{mounted: map[string]uint32{}}
		a := New(Config{Dir: t.TempDir(), Disks: d})
		var refs []layerRef
		for lun := range uint32(2 * mountsAtOnce) {
			refs = append(refs, layerRef{fmt.Sprint("l", lun), disk.Address{LUN: lun + 1}})
		}
		for _, want := range []time.Duration{2 * time.Second, 0} { // the second container finds them mounted
			began := time.Now()
			dirs, err := a.useLayers(t.Context(), refs)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
			var luns []uint32
			for _, dir := range dirs {
				luns = append(luns, d.mounted[strings.TrimSuffix(dir, "/root")])
			}
			if diff := cmp.Diff([]uint32{1, 2, 3, 4, 5, 6, 7, 8}, luns); diff != "" {
				t.Errorf("layers in order (-want +got):\n%s", diff)
			}
		}
		for _, want := range []int{0, len(refs)} {
			unused, err := a.dropLayers(t.Context(), refs)
			if err != nil || len(unused) != want {
				t.Errorf("dropLayers = %v, %v, want %d", unused, err, want)
			}
		}
		if len(d.mounted) != 0 {
			t.Errorf("still mounted: %v", d.mounted)
		}
	})
}

// TestUseLayers_OneFails: those that were mounted beside it are given back, those of others stay.
func TestUseLayers_OneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisks{mounted: map[string]uint32{}, bad: 3}
		a := New(Config{Dir: t.TempDir(), Disks: d})
		refs := []layerRef{{"a", disk.Address{LUN: 1}}, {"b", disk.Address{LUN: 2}}, {"c", disk.Address{LUN: 3}}}
		if _, err := a.useLayers(t.Context(), refs[:1]); err != nil {
			t.Fatal(err)
		}
		if _, err := a.useLayers(t.Context(), refs); !errors.Is(err, errInjected) || !strings.Contains(err.Error(), "mount layer c") {
			t.Errorf("useLayers = %v, want the injected error of layer c", err)
		}
		if got := slices.Sorted(maps.Values(d.mounted)); !slices.Equal(got, []uint32{1}) {
			t.Errorf("mounted are %v, want the other container's layer alone", got)
		}
		if slices.Contains(d.ejected, 1) {
			t.Error("the other container's disk was ejected")
		}
		unused, err := a.dropLayers(t.Context(), refs[:1])
		if err != nil || !slices.Equal(unused, []string{"a"}) || len(a.layers) != 0 {
			t.Errorf("dropLayers = %v, %v, and %d are known, want a and none", unused, err, len(a.layers))
		}
	})
}
