package mux

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func (r *rig) podNames(f *runtimeapi.PodSandboxFilter) string {
	r.t.Helper()
	resp, err := r.runtime.ListPodSandbox(r.t.Context(), &runtimeapi.ListPodSandboxRequest{Filter: f})
	if err != nil {
		r.t.Fatal(err)
	}
	var names []string
	for _, p := range resp.GetItems() {
		names = append(names, p.GetMetadata().GetName())
	}
	return strings.Join(names, " ")
}

// TestLists_Outage: while upstream is away its pods and containers stay as they were seen
// last, ours go on, and all is as it is once it is back.
func TestLists_Outage(t *testing.T) {
	r := newRig(t, nil)
	r.run("vm", "vm")
	up := r.run("up", "runc")
	r.container(up, "up")
	if got := r.podNames(nil); got != "vm up" {
		t.Errorf("pods = %q", got)
	}
	if _, err := r.runtime.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.run("vm2", "vm")
	if got := r.podNames(nil); got != "vm vm2 up" {
		t.Errorf("pods without upstream = %q", got)
	}
	notReady := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY}
	for want, f := range map[string]*runtimeapi.PodSandboxFilter{
		"up": {LabelSelector: map[string]string{uidLabel: "uid-up"}}, "vm vm2": {Id: "aaaa"}, "": {State: notReady},
	} {
		if got := r.podNames(f); got != want {
			t.Errorf("pods without upstream of %v = %q, want %q", f, got, want)
		}
	}
	cs, err := r.runtime.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{})
	if err != nil || len(cs.GetContainers()) != 1 {
		t.Errorf("containers without upstream = %v, %v", cs, err)
	}
	_, err = r.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: up})
	wantCode(t, err, codes.Unavailable, "upstream")
	_, err = r.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{RuntimeHandler: "runc", Config: podConfig("x")})
	wantCode(t, err, codes.Unavailable, "upstream")

	r.upstream.mu.Lock()
	clear(r.upstream.pods)
	r.upstream.mu.Unlock()
	r.startUpstream()
	await(t, func() bool { return r.podNames(nil) == "vm vm2" })
}

// await asks until it is so: a connection comes back in its own time.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); !ok(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not come to be so")
		}
	}
}

// TestLists_Grace: just after the start a side that was not seen yet makes lists
// Unavailable; later it is done without.
func TestLists_Grace(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Grace = time.Hour })
	r.stop()
	_, err := r.runtime.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	wantCode(t, err, codes.Unavailable, "upstream was not seen yet")
	_, err = r.runtime.ListContainers(t.Context(), &runtimeapi.ListContainersRequest{})
	wantCode(t, err, codes.Unavailable, "upstream was not seen yet")
	r.close()
	r.config = func(c *Config) { c.Grace = time.Nanosecond }
	r.start()
	r.run("vm", "vm")
	if got := r.podNames(nil); got != "vm" {
		t.Errorf("pods = %q", got)
	}
}

// TestLists_Hang: a side that takes connections and says nothing costs askTimeout.
func TestLists_Hang(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AskTimeout = time.Second })
	r.run("vm", "vm")
	r.stop()
	_ = os.Remove(r.socket)
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	if got := r.podNames(nil); got != "vm" {
		t.Errorf("pods = %q", got)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// TestLists_Refused: an error about the request is the caller's, not an outage.
func TestLists_Refused(t *testing.T) {
	r := newRig(t, nil)
	r.upstream.setFail("ListPodSandbox", status.Error(codes.InvalidArgument, "bad filter"))
	_, err := r.runtime.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	wantCode(t, err, codes.InvalidArgument, "bad filter")
}

func (r *rig) conditions() string {
	r.t.Helper()
	resp, err := r.runtime.Status(r.t.Context(), &runtimeapi.StatusRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, c := range resp.GetStatus().GetConditions() {
		s := c.GetType() + "=yes"
		if !c.GetStatus() {
			s = c.GetType() + "=no(" + c.GetReason() + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// TestStatus: the node is ready while one side is, and each side shows for itself.
func TestStatus(t *testing.T) {
	r := newRig(t, nil)
	resp, err := r.runtime.Status(t.Context(), &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	want := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Status: true},
			{Type: "portholeReady", Status: true}, {Type: "upstreamReady", Status: true},
		}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{Name: ""}, {Name: "vm"}, {Name: "runc"}, {Name: "runhcs"}},
		Features:        &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
		Info:            map[string]string{"config": "aaaa", "upstream.config": "bbbb"},
	}
	if diff := cmp.Diff(want, resp, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.stop()
	if got, want := r.conditions(), "RuntimeReady=yes NetworkReady=yes portholeReady=yes upstreamReady=no(Unavailable)"; got != want {
		t.Errorf("without upstream: %s\nwant %s", got, want)
	}
	if resp, err = r.runtime.Status(t.Context(), &runtimeapi.StatusRequest{}); err != nil || len(resp.GetRuntimeHandlers()) != 4 || !resp.GetFeatures().GetSupplementalGroupsPolicy() {
		t.Errorf("without upstream: %v, %v, want what was known of it", resp, err)
	}
	r.ours.setFail("Status", status.Error(codes.Unavailable, "too"))
	if got, want := r.conditions(), "RuntimeReady=no(Unavailable) NetworkReady=no(Unavailable) portholeReady=no(Unavailable) upstreamReady=no(Unavailable)"; got != want {
		t.Errorf("without both: %s\nwant %s", got, want)
	}
	r.startUpstream()
	await(t, func() bool {
		return r.conditions() == "RuntimeReady=yes NetworkReady=yes portholeReady=no(Unavailable) upstreamReady=yes"
	})
}

func TestMergeConditions_OneIsNotReady(t *testing.T) {
	ours := []*runtimeapi.RuntimeCondition{{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Reason: "No", Message: "no conf"}}
	got := mergeConditions(nil, ours, "a", nil)
	got = mergeConditions(got, []*runtimeapi.RuntimeCondition{{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Reason: "No", Message: "none"}, {Type: "Extra", Status: true}}, "b", nil)
	want := []*runtimeapi.RuntimeCondition{
		{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Reason: "No", Message: "no conf; b: none"},
		{Type: "aReady", Reason: "No", Message: "NetworkReady: no conf"}, {Type: "Extra", Status: true}, {Type: "bReady", Reason: "No", Message: "NetworkReady: none"},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatsAndMetrics(t *testing.T) {
	r := newRig(t, nil)
	ids := func() (out string) {
		resp, err := r.runtime.ListContainerStats(t.Context(), &runtimeapi.ListContainerStatsRequest{})
		if err != nil {
			return status.Code(err).String()
		}
		for _, s := range resp.GetStats() {
			out += s.GetAttributes().GetId() + " "
		}
		return out
	}
	if got := ids(); got != "aaaa bbbb " {
		t.Errorf("stats of %s", got)
	}
	d, err := r.runtime.ListMetricDescriptors(t.Context(), &runtimeapi.ListMetricDescriptorsRequest{})
	if err != nil || len(d.GetDescriptors()) != 3 || d.GetDescriptors()[0].GetHelp() != "aaaa" {
		t.Errorf("descriptors = %v, %v", d, err)
	}
	r.ours.setFail("ListContainerStats", status.Error(codes.Unimplemented, "not built"))
	if got := ids(); got != "bbbb " {
		t.Errorf("stats of %s", got)
	}
	r.upstream.setFail("ListContainerStats", status.Error(codes.Unimplemented, "not built"))
	if got := ids(); got != "Unimplemented" {
		t.Errorf("stats of %s", got)
	}
	r.upstream.setFail("ListContainerStats", status.Error(codes.Internal, "broken"))
	if got := ids(); got != "Internal" {
		t.Errorf("stats of %s", got)
	}
	_, err = r.runtime.ListPodSandboxStats(t.Context(), &runtimeapi.ListPodSandboxStatsRequest{})
	wantCode(t, err, codes.Unimplemented, "")
	_, err = r.runtime.ListPodSandboxMetrics(t.Context(), &runtimeapi.ListPodSandboxMetricsRequest{})
	wantCode(t, err, codes.Unimplemented, "")
}

func TestRuntimeConfig(t *testing.T) {
	r := newRig(t, nil)
	_, err := r.runtime.RuntimeConfig(t.Context(), &runtimeapi.RuntimeConfigRequest{})
	wantCode(t, err, codes.Unimplemented, "")
	if _, err := r.runtime.UpdateRuntimeConfig(t.Context(), &runtimeapi.UpdateRuntimeConfigRequest{}); err != nil {
		t.Errorf("UpdateRuntimeConfig = %v, want success where nobody has it", err)
	}
	r.upstream.setFail("UpdateRuntimeConfig", status.Error(codes.Internal, "broken"))
	_, err = r.runtime.UpdateRuntimeConfig(t.Context(), &runtimeapi.UpdateRuntimeConfigRequest{})
	wantCode(t, err, codes.Internal, "broken")
}

// FuzzHandle sends bytes as each method's request: there is an answer or an error with a
// code, and no panic.
func FuzzHandle(f *testing.F) {
	b, err := proto.Marshal(&runtimeapi.RunPodSandboxRequest{RuntimeHandler: "vm", Config: podConfig("p")})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 50 {
		f.Add(uint8(i), b)
		f.Add(uint8(i), []byte(nil))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		r := newRig(t, nil)
		var methods []string
		for m := range r.mux.rules {
			if !strings.HasSuffix(m, "GetContainerEvents") {
				methods = append(methods, m)
			}
		}
		method := methods[int(which)%len(methods)]
		out := &frame{}
		err := r.conn.Invoke(t.Context(), method, &frame{b}, out, grpcFrames)
		if code := status.Code(err); code == codes.Internal && strings.Contains(err.Error(), "panic") {
			t.Errorf("%s = %v", method, err)
		}
	})
}
