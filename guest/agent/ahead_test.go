//go:build linux

package agent

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

// ahead mounts the disk at LUN 0, where podRequest has its own.
func ahead(t *testing.T, h *host) error {
	t.Helper()
	_, err := h.MountScratch(t.Context(), &api.MountScratchRequest{Scratch: &api.DiskAddress{}})
	return err
}

// TestMountScratch_Pods: the first pod that says so has the disk that is mounted, and no other
// pod has it.
func TestMountScratch_Pods(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if err := ahead(t, h); err != nil {
		t.Fatal(err)
	}
	waiting := "mount " + h.dir + "/scratch"
	if got := m.String(); got != waiting {
		t.Fatalf("a template has\n%s\nwant\n%s", got, waiting)
	}
	if err := ahead(t, h); status.Code(err) != codes.AlreadyExists {
		t.Errorf("MountScratch again = %v, want AlreadyExists", err)
	}
	if _, err := h.MountScratch(t.Context(), &api.MountScratchRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("MountScratch of nothing = %v, want InvalidArgument", err)
	}
	for _, tt := range []struct {
		id           string
		lun          uint32
		mounted, has bool
	}{
		{"other", 3, false, false},
		{"elsewhere", 4, true, false},
		{"p", 0, true, true},
		{"late", 0, true, false},
	} {
		r := podRequest()
		r.PodId, r.ScratchMounted, r.Scratch = tt.id, tt.mounted, &api.DiskAddress{Lun: tt.lun}
		before := strings.Contains(m.String(), waiting)
		if _, err := h.CreatePod(t.Context(), r); err != nil {
			t.Fatalf("pod %s: %v", tt.id, err)
		}
		if took := before && !strings.Contains(m.String(), waiting); took != tt.has {
			t.Errorf("pod %s took the disk: %v, want %v:\n%s", tt.id, took, tt.has, m)
		}
		if want := "mount " + h.dir + "/p/" + tt.id + "/s"; !strings.Contains(m.String()+"\n", want+"\n") {
			t.Errorf("pod %s has no scratch space:\n%s", tt.id, m)
		}
		if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: tt.id}); err != nil {
			t.Error(err)
		}
	}
	if left := m.String() + h.files(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestMountScratch_EveryStepFailsOnce: whatever fails with a disk that is mounted ahead, it is
// not left, and the next pod gets another.
func TestMountScratch_EveryStepFailsOnce(t *testing.T) {
	for n, failed := 1, true; failed; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMachine(t)
			m.failAt = n
			h := newHost(t, m)
			hello(t, h)
			err := ahead(t, h)
			if err == nil {
				r := podRequest()
				r.ScratchMounted = true
				err = lifecycle(t.Context(), h, r, containerRequest("c"))
				if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
					t.Errorf("RemovePod: %v", err)
				}
			}
			if failed = err != nil; failed && !strings.Contains(err.Error(), "injected") {
				t.Errorf("%v, want the injected error", err)
			}
			if left := m.String() + h.files(); left != "" {
				t.Errorf("%v left\n%s", err, left)
			}
		})
	}
}
