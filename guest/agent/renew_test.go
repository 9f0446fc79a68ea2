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

// renewing freezes a pod with a container that runs, and renews it.
func renewing(t *testing.T, h *host) error {
	if _, err := h.FreezePod(t.Context(), &api.FreezePodRequest{PodId: "p"}); err != nil {
		return err
	}
	_, err := h.RenewPod(t.Context(), &api.RenewPodRequest{
		PodId: "p", Hostname: "other", Hosts: "new hosts", Containers: []*api.RenewContainer{{ContainerId: "c"}},
	})
	return err
}

func running(t *testing.T, m *machine) *host {
	t.Helper()
	h := newHost(t, m)
	hello(t, h)
	r := podRequest()
	r.Hosts = "old hosts"
	if _, err := h.CreatePod(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateContainer(t.Context(), containerRequest("c")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.StartContainer(t.Context(), &api.StartContainerRequest{ContainerId: "c"}); err != nil {
		t.Fatal(err)
	}
	return h
}

// TestRenew: a renewed container stands still until it is started.
func TestRenew(t *testing.T) {
	m := newMachine(t)
	h := running(t, m)
	const frozen = "frozen /pods/p/c"
	if _, err := h.FreezePod(t.Context(), &api.FreezePodRequest{PodId: "p"}); err != nil || !strings.Contains(m.String(), frozen) {
		t.Fatalf("FreezePod() = %v:\n%s", err, m)
	}
	if _, err := h.FreezePod(t.Context(), &api.FreezePodRequest{PodId: "p", Thaw: true}); err != nil || strings.Contains(m.String(), frozen) {
		t.Fatalf("thaw: %v:\n%s", err, m)
	}
	if err := renewing(t, h); err != nil {
		t.Fatal(err)
	}
	if got := m.String(); !strings.Contains(got, frozen) || !strings.Contains(got, "network renewed") {
		t.Errorf("renewed pod:\n%s", got)
	}
	_, err := h.Exec(t.Context(), &api.ExecRequest{ContainerId: "c", ExecId: "e", Args: []string{"sh"}})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Exec() in a container that was not started = %v", err)
	}
	first, err := h.StartContainer(t.Context(), &api.StartContainerRequest{ContainerId: "c"})
	if err != nil || strings.Contains(m.String(), frozen) {
		t.Errorf("StartContainer() = %v:\n%s", err, m)
	}
	again, err := h.StartContainer(t.Context(), &api.StartContainerRequest{ContainerId: "c"})
	if err != nil || again.StartedUnixNanos != first.StartedUnixNanos {
		t.Errorf("StartContainer() again = %v, %v", again, err)
	}
}

func TestRenew_Refused(t *testing.T) {
	h := running(t, newMachine(t))
	for name, tc := range map[string]struct {
		r    *api.RenewPodRequest
		code codes.Code
	}{
		"no_pod":       {&api.RenewPodRequest{PodId: "x"}, codes.NotFound},
		"hostname":     {&api.RenewPodRequest{PodId: "p", Hostname: strings.Repeat("h", 65)}, codes.InvalidArgument},
		"interfaces":   {&api.RenewPodRequest{PodId: "p", Interfaces: []*api.Interface{{Name: "eth0", BootMac: "02:00:00:00:00:01"}}}, codes.FailedPrecondition},
		"no_container": {&api.RenewPodRequest{PodId: "p", Containers: []*api.RenewContainer{{ContainerId: "x"}}}, codes.NotFound},
		"terminal":     {&api.RenewPodRequest{PodId: "p", Containers: []*api.RenewContainer{{ContainerId: "c", Stdio: &api.Stdio{Terminal: true}}}}, codes.FailedPrecondition},
	} {
		if _, err := h.RenewPod(t.Context(), tc.r); status.Code(err) != tc.code {
			t.Errorf("%s: RenewPod() = %v, want %v", name, err, tc.code)
		}
	}
}

func TestRenew_EveryStepFailsOnce(t *testing.T) {
	for n, failed := 1, true; failed; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMachine(t)
			h := running(t, m)
			m.mu.Lock()
			m.failAt = m.calls + n
			m.mu.Unlock()
			err := renewing(t, h)
			if failed = err != nil; failed && !strings.Contains(err.Error(), "injected") {
				t.Errorf("%v, want the injected error", err)
			}
			if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
				t.Errorf("RemovePod: %v", err)
			}
		})
	}
}
