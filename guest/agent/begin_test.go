//go:build linux

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

func beginRequest() *api.CreatePodRequest {
	r := podRequest()
	r.Begin = true
	return r
}

func wholeRequest() *api.CreatePodRequest {
	r := podRequest()
	r.Hosts = "127.0.0.1 localhost\n"
	return r
}

// TestAgent_BegunPod: a pod that is made in two steps is the one that is made in one, and takes
// containers once it is whole.
func TestAgent_BegunPod(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), wholeRequest()); err != nil {
		t.Fatal(err)
	}
	want := m.String() + h.files()
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Fatal(err)
	}

	if _, err := h.CreatePod(t.Context(), beginRequest()); err != nil {
		t.Fatal(err)
	}
	hosts := filepath.Join(h.dir, "p", "p", "etc", "hosts")
	if _, err := os.Stat(hosts); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a pod that is begun has a hosts file: %v", err)
	}
	if _, err := h.CreateContainer(t.Context(), containerRequest("c")); status.Code(err) != codes.NotFound {
		t.Errorf("CreateContainer in a pod that is begun = %v, want NotFound", err)
	}
	if _, err := h.CreatePod(t.Context(), beginRequest()); status.Code(err) != codes.AlreadyExists {
		t.Errorf("CreatePod that begins it again = %v, want AlreadyExists", err)
	}
	if _, err := h.CreatePod(t.Context(), wholeRequest()); err != nil {
		t.Fatal(err)
	}
	if got := m.String() + h.files(); got != want {
		t.Errorf("in two steps:\n%s\nwant\n%s", got, want)
	}
	if b, err := os.ReadFile(hosts); err != nil || string(b) != wholeRequest().Hosts {
		t.Errorf("hosts file %q, %v", b, err)
	}
	if _, err := h.CreatePod(t.Context(), wholeRequest()); status.Code(err) != codes.AlreadyExists {
		t.Errorf("CreatePod of a pod that is made = %v, want AlreadyExists", err)
	}
	if _, err := h.CreateContainer(t.Context(), containerRequest("c")); err != nil {
		t.Error(err)
	}
}

// TestAgent_BegunPodRemoved: RemovePod undoes a beginning.
func TestAgent_BegunPodRemoved(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), beginRequest()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Fatal(err)
	}
	if left := m.String() + h.files(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestAgent_BegunPodEveryStepFails: a call of either step that fails leaves nothing.
func TestAgent_BegunPodEveryStepFails(t *testing.T) {
	for n, failed := 1, true; failed; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMachine(t)
			m.failAt = n
			h := newHost(t, m)
			hello(t, h)
			_, err := h.CreatePod(t.Context(), beginRequest())
			if err == nil {
				_, err = h.CreatePod(t.Context(), wholeRequest())
			}
			if failed = err != nil; !failed {
				return
			}
			if !strings.Contains(err.Error(), "injected") {
				t.Errorf("%v, want the injected error", err)
			}
			if left := m.String() + h.files(); left != "" {
				t.Errorf("%v left\n%s", err, left)
			}
			m.failAt = 0
			if _, err := h.CreatePod(t.Context(), wholeRequest()); err != nil {
				t.Errorf("CreatePod again: %v", err)
			}
		})
	}
}
