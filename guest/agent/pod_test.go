//go:build linux

package agent

import (
	"strings"
	"testing"

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
	if err := lifecycle(t.Context(), h); err != nil {
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
