package shim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
)

// disksTogether is a VM whose changes of disks wait for one another: none ends before as many
// as there are to be have begun.
type disksTogether struct {
	mu     sync.Mutex
	want   int
	begun  chan struct{} // closed when want have begun
	refuse string        // the disk that does not go
	disks  map[uint32]string
}

var errStuck = errors.New("the disk is stuck")

func (d *disksTogether) expect(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want, d.begun = n, make(chan struct{})
}

// begin returns once all that are expected have begun.
func (d *disksTogether) begin() {
	d.mu.Lock()
	if d.want--; d.want == 0 {
		close(d.begun)
	}
	begun := d.begun
	d.mu.Unlock()
	<-begun
}

func (d *disksTogether) AttachDisk(_ context.Context, k sandbox.Disk) (sandbox.DiskAddress, error) {
	d.begin()
	d.mu.Lock()
	defer d.mu.Unlock()
	lun := uint32(len(d.disks))
	d.disks[lun] = k.Path
	return sandbox.DiskAddress{LUN: lun}, nil
}

func (d *disksTogether) DetachDisk(_ context.Context, a sandbox.DiskAddress) error {
	d.begin()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.disks[a.LUN] == d.refuse {
		return errStuck
	}
	delete(d.disks, a.LUN)
	return nil
}

func (d *disksTogether) names() map[string]bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]bool{}
	for _, path := range d.disks {
		out[path] = true
	}
	return out
}

// TestLayerSet_SideBySide: layers come and go side by side, and one that stays keeps none of
// the others: it serves whoever wants it next.
func TestLayerSet_SideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 20
		var layers []sandbox.Layer
		for i := range n {
			name := fmt.Sprint("l", i)
			layers = append(layers, sandbox.Layer{DiffID: name, Path: name})
		}
		d := &disksTogether{disks: map[uint32]string{}}
		s := newLayerSet(d)
		d.expect(n) // the bubble is deadlocked if one waits for another
		if _, err := s.acquire(t.Context(), layers); err != nil {
			t.Fatal(err)
		}
		d.refuse = "l7"
		d.expect(n)
		if err := s.release(t.Context(), layers); !errors.Is(err, errStuck) {
			t.Errorf("release = %v, want what detaching told", err)
		}
		if diff := cmp.Diff(map[string]bool{"l7": true}, d.names()); diff != "" {
			t.Errorf("disks (-want +got):\n%s", diff)
		}
		if _, err := s.acquire(t.Context(), layers[7:8]); err != nil {
			t.Errorf("acquire of the one that stayed = %v", err)
		}
		d.refuse = ""
		d.expect(1)
		if err := s.release(t.Context(), layers[7:8]); err != nil || len(d.names()) != 0 {
			t.Errorf("release = %v, left: %v", err, d.names())
		}
	})
}
