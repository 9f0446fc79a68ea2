package cri

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cri/dialect"
	"github.com/porthole-run/porthole/sandbox"
)

const recordedDir = "testdata/windows-kubelet/"

// recordedCall is one call of the recording.
type recordedCall struct {
	Method string          `json:"m"`
	Err    string          `json:"err"`
	Req    json.RawMessage `json:"req"`
}

func recording(t testing.TB) []recordedCall {
	t.Helper()
	f, err := os.Open(recordedDir + "requests.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var calls []recordedCall
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var c recordedCall
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, c)
	}
	if err := in.Err(); err != nil || len(calls) < 50 {
		t.Fatalf("%d calls, %v", len(calls), err)
	}
	return calls
}

// request decodes the recorded request of a method, "/service/Method".
func request(t testing.TB, method string, raw []byte) proto.Message {
	t.Helper()
	for _, v := range verbs() {
		if path.Base(v.name) != path.Base(method) {
			continue
		}
		var m proto.Message
		_, _ = v.handle(NewServer(Deps{}, Options{}), context.Background(), func(in any) error {
			m = in.(proto.Message)
			return context.Canceled // it is only to tell its type
		}, nil)
		if err := protojson.Unmarshal(raw, m); err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		return m
	}
	t.Fatalf("no method %s", method)
	return nil
}

// recordedPods are the pods of the recording by uid, from what their author applied.
type recordedPods map[string]*corev1.Pod

func (p recordedPods) Pod(_ context.Context, uid string) (*corev1.Pod, error) {
	if pod, ok := p[uid]; ok {
		return pod, nil
	}
	return nil, fmt.Errorf("pod %q: %w", uid, errdefs.ErrNotFound)
}

func podsOf(t testing.TB, calls []recordedCall) recordedPods {
	t.Helper()
	pods := recordedPods{}
	for _, c := range calls {
		if path.Base(c.Method) != "RunPodSandbox" {
			continue
		}
		r := request(t, c.Method, c.Req).(*runtimeapi.RunPodSandboxRequest)
		pod := &corev1.Pod{}
		if err := json.Unmarshal([]byte(r.GetConfig().GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"]), pod); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(fmt.Appendf(nil, `{"metadata":{"uid":%q}}`, r.GetConfig().GetMetadata().GetUid()), pod); err != nil {
			t.Fatal(err)
		}
		pod.Status.QOSClass = corev1.PodQOSBurstable
		pods[string(pod.UID)] = pod
	}
	return pods
}

// windowsServer is a Server on a Linux host that a Windows kubelet with two processors
// drives, whose drive c is the folder /c.
func windowsServer(t testing.TB, f *fakeNode, pods dialect.Pods, change func(*dialect.Config)) *Server {
	t.Helper()
	c := dialect.Config{
		Pods: pods, Processors: 2, MemoryBytes: 4 << 30, Drives: map[string]string{"c": "/c"}, HostNetworkAsPod: true,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&c)
	}
	d, err := dialect.New(c)
	if err != nil {
		t.Fatal(err)
	}
	f.images["localhost/busybox:1"] = Image{ID: recordedImage, Tags: []string{"localhost/busybox:1"}, User: "nginx"}
	f.images[recordedImage] = f.images["localhost/busybox:1"]
	s := newTestServer(t, f, nil)
	s.opts.Dialect = d
	s.handlers["lcow"] = true
	return s
}

const recordedImage = "sha256:6261bb92404c98bacb5cae78a4c91271b66891c050d3b2a5988e567531812fb8"

// replay plays the recording to s. The recorded ids are counted up; they become those
// that s gives. seen is called after each call.
func replay(t *testing.T, s *Server, calls []recordedCall, seen func(c recordedCall, resp any, err error)) {
	t.Helper()
	ids := map[string]string{}
	for _, c := range calls {
		raw := string(c.Req)
		for recorded, id := range ids {
			raw = strings.ReplaceAll(raw, recorded, id)
		}
		var resp any
		var err error
		for _, v := range verbs() {
			if "/"+v.name == c.Method {
				m := request(t, c.Method, []byte(raw))
				resp, err = v.handle(s, t.Context(), func(in any) error { proto.Merge(in.(proto.Message), m); return nil }, nil)
			}
		}
		next := fmt.Sprintf("%064d", len(ids)+1)
		switch r := resp.(type) {
		case *runtimeapi.RunPodSandboxResponse:
			ids[next] = r.GetPodSandboxId()
		case *runtimeapi.CreateContainerResponse:
			ids[next] = r.GetContainerId()
		}
		seen(c, resp, err)
	}
}

// TestWindowsKubelet_Recorded plays all that a Windows kubelet sent in a run. Each call
// must have the answer that it had then; what pods and containers become is golden, and
// status shows what the kubelet goes by.
func TestWindowsKubelet_Recorded(t *testing.T) {
	calls := recording(t)
	f := newFakeNode()
	s := windowsServer(t, f, podsOf(t, calls), nil)
	var made strings.Builder
	replay(t, s, calls, func(c recordedCall, resp any, err error) {
		method := path.Base(c.Method)
		switch code := codeOf(err); {
		case code == codes.Unimplemented && strings.Contains(method, "Stats"):
			// The kubelet goes on without.
		case (err != nil) != (c.Err != ""), c.Err != "" && !strings.Contains(c.Err, code.String()):
			t.Errorf("%s %s = %v, was %q", method, c.Req, err, c.Err)
		}
		switch r := resp.(type) {
		case *runtimeapi.RunPodSandboxResponse:
			p := f.pods[r.GetPodSandboxId()]
			p.Config.Annotations = nil // as sent, and long
			fmt.Fprintf(&made, "RunPodSandbox %s\n%s\n", p.Config.Name, indented(t, p.Config))
			checkShownPod(t, s, p.ID, c)
		case *runtimeapi.CreateContainerResponse:
			c2 := f.containers[r.GetContainerId()]
			fmt.Fprintf(&made, "CreateContainer %s of %s\n%s\n", c2.Config.Name, f.pods[c2.PodID].Config.Name, indented(t, c2.Config))
			checkShownContainer(t, s, c2.ID, c)
		}
	})
	checkGolden(t, recordedDir+"recorded.golden", made.String())
	if len(f.pods)+len(f.containers) != 0 {
		t.Errorf("after the kubelet removed all there are %d pods, %d containers", len(f.pods), len(f.containers))
	}
}

func indented(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// checkShownPod: a kubelet that does not see its network mode and its annotations again
// makes the pod anew for ever.
func checkShownPod(t *testing.T, s *Server, id string, c recordedCall) {
	t.Helper()
	asked := request(t, c.Method, c.Req).(*runtimeapi.RunPodSandboxRequest).GetConfig()
	resp, err := s.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		t.Fatal(err)
	}
	got := resp.GetStatus()
	if want := asked.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork(); got.GetLinux().GetNamespaces().GetOptions().GetNetwork() != want {
		t.Errorf("%s: network shows as %v, want %v", asked.GetMetadata().GetName(), got.GetLinux(), want)
	}
	if diff := cmp.Diff(asked.GetAnnotations(), got.GetAnnotations()); diff != "" {
		t.Errorf("annotations (-asked +shown):\n%s", diff)
	}
}

// checkShownContainer: the kubelet finds the termination log by its own path, reads and
// rotates the log at log_path, and takes resources from the Windows section.
func checkShownContainer(t *testing.T, s *Server, id string, c recordedCall) {
	t.Helper()
	r := request(t, c.Method, c.Req).(*runtimeapi.CreateContainerRequest)
	resp, err := s.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		t.Fatal(err)
	}
	got := resp.GetStatus()
	for i, m := range r.GetConfig().GetMounts() {
		if !proto.Equal(m, got.GetMounts()[i]) {
			t.Errorf("mount %d shows as %v, want %v", i, got.GetMounts()[i], m)
		}
	}
	if want := "c:" + r.GetSandboxConfig().GetLogDirectory() + `\` + r.GetConfig().GetLogPath(); got.GetLogPath() != want {
		t.Errorf("log_path shows as %q, want %q", got.GetLogPath(), want)
	}
	if want := r.GetConfig().GetWindows().GetResources(); !proto.Equal(want, got.GetResources().GetWindows()) {
		t.Errorf("resources show as %v, want %v", got.GetResources().GetWindows(), want)
	}
}

// TestWindowsKubelet_NoSpec: without the Pods API pods do not run, unless that is asked
// for; then they have no more rights than any container has.
func TestWindowsKubelet_NoSpec(t *testing.T) {
	calls := recording(t)
	run := request(t, "RunPodSandbox", find(t, calls, "RunPodSandbox").Req).(*runtimeapi.RunPodSandboxRequest)
	create := request(t, "CreateContainer", find(t, calls, "CreateContainer").Req).(*runtimeapi.CreateContainerRequest)
	pods := podsOf(t, calls)
	down := downPods{}

	s := windowsServer(t, newFakeNode(), down, nil)
	_, err := s.RunPodSandbox(t.Context(), run)
	checkRefused(t, err, errdefs.ErrUnavailable, "security context is not known")
	_, err = windowsServer(t, newFakeNode(), recordedPods{}, nil).RunPodSandbox(t.Context(), run)
	checkRefused(t, err, errdefs.ErrFailedPrecondition, "knows no pod with uid")

	// It goes away between the pod and its container.
	f := newFakeNode()
	s = windowsServer(t, f, pods, nil)
	resp, err := s.RunPodSandbox(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	create.PodSandboxId = resp.GetPodSandboxId()
	_, err = windowsServer(t, f, down, nil).CreateContainer(t.Context(), create)
	checkRefused(t, err, errdefs.ErrUnavailable, "security context is not known")
	if len(f.containers) != 0 {
		t.Errorf("there are %d containers", len(f.containers))
	}

	f = newFakeNode()
	s = windowsServer(t, f, down, func(c *dialect.Config) { c.DropSecurityContext = true })
	if resp, err = s.RunPodSandbox(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	create.PodSandboxId = resp.GetPodSandboxId()
	made, err := s.CreateContainer(t.Context(), create)
	if err != nil {
		t.Fatal(err)
	}
	got := f.containers[made.GetContainerId()].Config
	if got.Security.Privileged || got.Security.RunAsUsername != "nginx" || got.Security.Seccomp.Type != sandbox.SeccompRuntimeDefault ||
		len(got.Security.MaskedPaths) == 0 || len(got.Security.AddCapabilities) != 0 {
		t.Errorf("security = %+v", got.Security)
	}
	if got.Resources.CPUQuota != 50_000 || got.Resources.MemoryLimit != 128<<20 {
		t.Errorf("resources = %+v, want 500m and 128 MiB", got.Resources)
	}
	if diff := cmp.Diff([]int64{3000}, got.Security.SupplementalGroups); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}

	// What is had but not right is refused whatever is asked for.
	lies := recordedPods{}
	for uid, p := range pods {
		p = p.DeepCopy()
		p.UID = "another"
		lies[uid] = p
	}
	s = windowsServer(t, newFakeNode(), lies, func(c *dialect.Config) { c.DropSecurityContext = true })
	_, err = s.RunPodSandbox(t.Context(), run)
	checkRefused(t, err, errdefs.ErrDataLoss, `answered with that of "another"`)
}

type downPods struct{}

func (downPods) Pod(context.Context, string) (*corev1.Pod, error) {
	return nil, fmt.Errorf("no answer: %w", errdefs.ErrUnavailable)
}

func find(t testing.TB, calls []recordedCall, method string) recordedCall {
	t.Helper()
	for _, c := range calls {
		if path.Base(c.Method) == method {
			return c
		}
	}
	t.Fatalf("no %s was recorded", method)
	return recordedCall{}
}

// TestWindowsKubelet_Off: without the dialect such requests are refused, not half understood.
func TestWindowsKubelet_Off(t *testing.T) {
	calls := recording(t)
	s := newTestServer(t, newFakeNode(), nil)
	s.handlers["lcow"] = true
	_, err := s.RunPodSandbox(t.Context(), request(t, "RunPodSandbox", find(t, calls, "RunPodSandbox").Req).(*runtimeapi.RunPodSandboxRequest))
	if err == nil {
		t.Error("RunPodSandbox succeeds")
	}
}

// TestWindowsKubelet_HostNetwork: the host's network is refused where not asked for otherwise.
func TestWindowsKubelet_HostNetwork(t *testing.T) {
	calls := recording(t)
	s := windowsServer(t, newFakeNode(), podsOf(t, calls), func(c *dialect.Config) { c.HostNetworkAsPod = false })
	for _, c := range calls {
		if path.Base(c.Method) == "RunPodSandbox" && strings.Contains(string(c.Req), `"NODE"`) {
			_, err := s.RunPodSandbox(t.Context(), request(t, c.Method, c.Req).(*runtimeapi.RunPodSandboxRequest))
			checkRefused(t, err, errdefs.ErrNotImplemented, "namespace_options.network")
			return
		}
	}
	t.Fatal("no such pod was recorded")
}

// TestWindowsKubelet_LinuxRequests: with the dialect on, a caller that speaks Linux is
// not touched.
func TestWindowsKubelet_LinuxRequests(t *testing.T) {
	f := newFakeNode()
	s := windowsServer(t, f, downPods{}, nil)
	run, err := s.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: testPod()})
	if err != nil {
		t.Fatal(err)
	}
	c := testContainer()
	c.Linux = &runtimeapi.LinuxContainerConfig{}
	if _, err := s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: run.GetPodSandboxId(), Config: c}); err != nil {
		t.Fatal(err)
	}
}
