//go:build linux

package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/api"
)

// template greets as the maker of a template does, which has namespaces wait.
func template(t *testing.T, h *host) error {
	t.Helper()
	_, err := h.Hello(t.Context(), &api.HelloRequest{MinVersion: 1, MaxVersion: 1, Seed: make([]byte, 64), Template: true})
	return err
}

// waiting is what a machine shows where namespaces wait, and nothing else is.
const waiting = "network\nprocess pause"

// TestPrepare_Pods: a clone's first pod has the namespaces that wait, unless it asks for
// others; no pod has those of another, and when one that had them is gone, others wait.
func TestPrepare_Pods(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*api.CreatePodRequest)
		made   []podns.Options // besides those that wait
		left   string          // after the pods
	}{
		{"usual", func(*api.CreatePodRequest) {}, nil, waiting},
		{"vm_pid", func(r *api.CreatePodRequest) { r.Namespaces = &api.PodNamespaces{VmPid: true} }, []podns.Options{{VMPID: true}}, ""},
		{"sysctls", func(r *api.CreatePodRequest) { r.Sysctls = map[string]string{"net.ipv4.conf.default.rp_filter": "2"} }, []podns.Options{{}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			h := newHost(t, m)
			for range 2 { // a host may come back
				if err := template(t, h); err != nil {
					t.Fatal(err)
				}
				if got := m.String(); got != waiting {
					t.Fatalf("a template has\n%s\nwant\n%s", got, waiting)
				}
			}
			hello(t, h)
			first := podRequest()
			tt.change(first)
			if _, err := h.CreatePod(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]podns.Options{{}}, tt.made...), m.made); diff != "" {
				t.Errorf("namespaces made (-want +got):\n%s", diff)
			}
			before := len(m.made)
			second := podRequest()
			second.PodId, second.Scratch = "q", &api.DiskAddress{Lun: 7}
			if _, err := h.CreatePod(t.Context(), second); err != nil {
				t.Fatal(err)
			}
			if len(m.made) != before+1 {
				t.Errorf("the second pod has namespaces of the first")
			}
			for _, id := range []string{"q", "p"} { // NICs are all one to the fake
				if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: id}); err != nil {
					t.Error(err)
				}
			}
			if left := m.String() + h.files(); left != tt.left {
				t.Errorf("left:\n%s\nwant\n%s", left, tt.left)
			}
			if tt.left == "" {
				return
			}
			before = len(m.made)
			third := podRequest()
			third.PodId = "r"
			if _, err := h.CreatePod(t.Context(), third); err != nil {
				t.Fatal(err)
			}
			if len(m.made) != before {
				t.Error("a pod that came after the others did not get the namespaces that waited")
			}
			if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "r"}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPrepare_Ended: namespaces whose process has ended are nobody's.
func TestPrepare_Ended(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	if err := template(t, h); err != nil {
		t.Fatal(err)
	}
	kill(m.procs["pause"])
	if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
		t.Fatal(err)
	}
	if len(m.made) != 2 {
		t.Errorf("made %d sets of namespaces, want 2", len(m.made))
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Error(err)
	}
}

// TestPrepare_EveryStepFailsOnce: whatever fails in a template, in its clone's first pod, or in
// having namespaces wait again after that, nothing is left but namespaces that wait, which a
// further pod takes.
func TestPrepare_EveryStepFailsOnce(t *testing.T) {
	for n, reached := 1, true; reached; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMachine(t)
			m.failAt = n
			h := newHost(t, m)
			err := template(t, h)
			if err == nil {
				hello(t, h)
				err = lifecycle(t.Context(), h, podRequest(), containerRequest("c"))
				remove := func(id string) {
					if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: id}); err != nil {
						t.Errorf("RemovePod: %v", err)
					}
				}
				remove("p")
				if left := m.String(); left != "" && left != waiting {
					t.Errorf("left with the pod\n%s", left)
				}
				next := podRequest()
				next.PodId = "q"
				before, waits := len(m.made), m.String() == waiting
				switch _, nextErr := h.CreatePod(t.Context(), next); {
				case nextErr == nil:
					if took := len(m.made) == before; took != waits {
						t.Errorf("the next pod took namespaces that wait: %v, want %v", took, waits)
					}
				case err == nil: // it is this one whose making is to fail
					err = nextErr
				default:
					t.Errorf("CreatePod: %v", nextErr)
				}
				remove("q")
			}
			if reached = m.calls >= n; err != nil && !strings.Contains(err.Error(), "injected") {
				t.Errorf("%v, want the injected error", err)
			}
			if left := m.String() + h.files(); left != "" && left != waiting {
				t.Errorf("%v left\n%s", err, left)
			}
			if err := template(t, h); err != nil { // of what failed nothing is in the way
				t.Error(err)
			}
			if got := m.String(); got != waiting {
				t.Errorf("then there are\n%s\nwant\n%s", got, waiting)
			}
		})
	}
}
