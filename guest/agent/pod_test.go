//go:build linux

package agent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

// TestAgent_Pods: pods of one VM come and go without each other.
func TestAgent_Pods(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	second := podRequest()
	second.PodId, second.Scratch, second.Limits = "q", &api.DiskAddress{Lun: 7}, nil
	bad := podRequest()
	bad.PodId, bad.Limits = "r", []byte("{")
	if _, err := h.CreatePod(t.Context(), bad); status.Code(err) != codes.InvalidArgument {
		t.Errorf("CreatePod with limits that are no JSON = %v", err)
	}
	if err := lifecycle(t.Context(), h, podRequest(), containerRequest("c")); err != nil {
		t.Fatal(err)
	}
	// The fake has one network and one pause process, however many pods there are.
	state := func() string { return strings.NewReplacer("network\n", "", "\nprocess pause", "").Replace(m.String()) }
	alone := state()
	if _, err := h.CreatePod(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	c := containerRequest("d")
	c.PodId = "q"
	if _, err := h.CreateContainer(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "q"}); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != alone {
		t.Errorf("after the removal of one pod:\n%s\nwant\n%s", got, alone)
	}
	if _, err := h.Exec(t.Context(), &api.ExecRequest{ContainerId: "c", ExecId: "f", Args: []string{"sh"}}); err != nil {
		t.Errorf("exec in the other pod: %v", err)
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Fatal(err)
	}
	if left := m.String() + h.files(); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// TestAgent_PodLimits: a pod's limits hold while each of its containers has such a limit.
func TestAgent_PodLimits(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	pod := podRequest()
	pod.Limits = []byte(`{"memory":{"limit":4194304},"cpu":{"quota":50000,"shares":512}}`)
	if _, err := h.CreatePod(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ id, resources string }{
		{"both", `{"memory":{"limit":1048576},"cpu":{"quota":10000}}`},
		{"memory", `{"memory":{"limit":1048576}}`},
		{"none", `{}`},
		{"none-too", `{"cpu":{"quota":-1}}`},
	} {
		r := containerRequest(c.id)
		r.Spec = []byte(`{"process":{"args":["sh"],"cwd":"/w"},"linux":{"resources":` + c.resources + `}}`)
		if _, err := h.CreateContainer(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		m.limits = append(m.limits, c.id)
		m.mu.Unlock()
	}
	want := []string{
		`{"memory":{"limit":4194304},"cpu":{"shares":512,"quota":50000}}`, "both",
		`{"cpu":{"quota":-1}}`, "memory",
		`{"memory":{"limit":-1,"swap":-1}}`, "none", "none-too",
	}
	if diff := cmp.Diff(want, m.limits); diff != "" {
		t.Errorf("limits of the pod (-want +got):\n%s", diff)
	}
	if _, err := h.RemovePod(t.Context(), &api.RemovePodRequest{PodId: "p"}); err != nil {
		t.Fatal(err)
	}
}
