package cri

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/diskfull"
	"github.com/porthole-run/porthole/sandbox"
)

func testPod() *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "default", Uid: "u1"}, LogDirectory: "/var/log/pods/web",
		Labels: map[string]string{"app": "web"},
	}
}

func testContainer() *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "main"}, Image: &runtimeapi.ImageSpec{Image: "registry.test/web:1"},
		LogPath: "main/0.log",
	}
}

func TestServer_PodWithContainer(t *testing.T) {
	f := newFakeNode()
	rt, _ := client(t, newTestServer(t, f, nil))
	ctx := t.Context()

	run, err := rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: testPod(), RuntimeHandler: "big"})
	if err != nil {
		t.Fatal(err)
	}
	ps, err := rt.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: run.PodSandboxId, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	if st := ps.Status; st.State != runtimeapi.PodSandboxState_SANDBOX_READY || st.Network.Ip != "10.0.0.2" ||
		len(st.Network.AdditionalIps) != 1 || st.RuntimeHandler != "big" || ps.Info["info"] == "" {
		t.Errorf("PodSandboxStatus = %v", ps)
	}
	cr, err := rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: run.PodSandboxId, Config: testContainer()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: cr.ContainerId}); err != nil {
		t.Fatal(err)
	}
	cs, err := rt.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: cr.ContainerId, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	if st := cs.Status; st.State != runtimeapi.ContainerState_CONTAINER_RUNNING || st.ImageId != "sha256:web" || st.ImageRef != "sha256:web" ||
		st.LogPath != "/var/log/pods/web/main/0.log" || st.StopSignal != runtimeapi.Signal_SIGNAL_SIGTERM {
		t.Errorf("ContainerStatus = %v", cs)
	}
	list, err := rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{
		PodSandboxId: run.PodSandboxId, State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	}})
	if err != nil || len(list.Containers) != 1 {
		t.Errorf("ListContainers = %v, %v, want one", list, err)
	}
	for _, u := range []func() (string, error){
		func() (string, error) {
			r, err := rt.Exec(ctx, &runtimeapi.ExecRequest{ContainerId: cr.ContainerId, Cmd: []string{"sh"}, Tty: true, Stdin: true, Stdout: true})
			return r.GetUrl(), err
		},
		func() (string, error) {
			r, err := rt.Attach(ctx, &runtimeapi.AttachRequest{ContainerId: cr.ContainerId, Stdout: true})
			return r.GetUrl(), err
		},
		func() (string, error) {
			r, err := rt.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: run.PodSandboxId, Port: []int32{80}})
			return r.GetUrl(), err
		},
	} {
		if url, err := u(); err != nil || url == "" {
			t.Errorf("url = %q, %v", url, err)
		}
	}
	if _, err := rt.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: cr.ContainerId}); err != nil {
		t.Error(err)
	}
	for range 2 { // both may be repeated
		for _, step := range []func() error{
			func() error {
				_, err := rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: cr.ContainerId, Timeout: 1})
				return err
			},
			func() error {
				_, err := rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: run.PodSandboxId})
				return err
			},
		} {
			if err := step(); err != nil {
				t.Error(err)
			}
		}
	}
	for range 2 {
		if _, err := rt.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: cr.ContainerId}); err != nil {
			t.Error(err)
		}
		if _, err := rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: run.PodSandboxId}); err != nil {
			t.Error(err)
		}
	}
	if len(f.pods)+len(f.containers) != 0 {
		t.Errorf("left: %v %v", f.pods, f.containers)
	}
}

func TestServer_Codes(t *testing.T) {
	f := newFakeNode()
	rt, im := client(t, newTestServer(t, f, nil))
	ctx := t.Context()
	hostNet := testPod()
	hostNet.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}}}
	tests := []struct {
		name string
		call func() error
		want codes.Code
		text string
	}{
		{"pod_status_unknown", func() error {
			_, err := rt.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: "nope"})
			return err
		}, codes.NotFound, "nope"},
		{"pod_stop_unknown", func() error {
			_, err := rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: "nope"})
			return err
		}, codes.OK, ""},
		{"pod_stop_empty_id", func() error {
			_, err := rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{})
			return err
		}, codes.InvalidArgument, "pod_sandbox_id"},
		{"container_status_unknown", func() error {
			_, err := rt.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: "nope"})
			return err
		}, codes.NotFound, "nope"},
		{"container_stop_negative", func() error {
			_, err := rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: "c", Timeout: -1})
			return err
		}, codes.InvalidArgument, "timeout"},
		{"update_nothing", func() error {
			_, err := rt.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: "nope"})
			return err
		}, codes.InvalidArgument, "linux"},
		{"update_windows", func() error {
			_, err := rt.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: "nope",
				Windows: &runtimeapi.WindowsContainerResources{}})
			return err
		}, codes.Unimplemented, "windows"},
		{"update_bad", func() error {
			_, err := rt.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: "nope",
				Linux: &runtimeapi.LinuxContainerResources{CpuQuota: -5}})
			return err
		}, codes.InvalidArgument, "linux.cpu_quota"},
		{"update_unknown", func() error {
			_, err := rt.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: "nope",
				Linux: &runtimeapi.LinuxContainerResources{CpuQuota: 5000}})
			return err
		}, codes.NotFound, "nope"},
		{"run_no_config", func() error {
			_, err := rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{})
			return err
		}, codes.InvalidArgument, "config"},
		{"run_unknown_handler", func() error {
			_, err := rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: testPod(), RuntimeHandler: "x"})
			return err
		}, codes.InvalidArgument, `"x"`},
		{"run_host_network", func() error {
			_, err := rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: hostNet})
			return err
		}, codes.Unimplemented, "namespace_options.network"},
		{"stats_unknown", func() error {
			_, err := rt.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: "nope"})
			return err
		}, codes.NotFound, "nope"},
		{"pod_stats_no_id", func() error { // the kubelet's probe at its start
			_, err := rt.PodSandboxStats(ctx, &runtimeapi.PodSandboxStatsRequest{})
			return err
		}, codes.InvalidArgument, "pod_sandbox_id"},
		{"image_unknown", func() error {
			r, err := im.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "nope"}})
			if err == nil && r.Image != nil {
				return errors.New("has an image")
			}
			return err
		}, codes.OK, ""},
		{"image_remove_unknown", func() error {
			_, err := im.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: "nope"}})
			return err
		}, codes.OK, ""},
		{"pod_cidr", func() error {
			_, err := rt.UpdateRuntimeConfig(ctx, &runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: &runtimeapi.RuntimeConfig{
				NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: "10.0.0.0/24,fd00::/64"}}})
			return err
		}, codes.OK, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call()
			if got := status.Code(err); got != tt.want || !strings.Contains(fmt.Sprint(err), tt.text) {
				t.Errorf("= %v, want %v with %q", err, tt.want, tt.text)
			}
		})
	}
}

func TestServer_Status(t *testing.T) {
	f := newFakeNode()
	rt, _ := client(t, newTestServer(t, f, nil))
	f.fail["NetworkReady"] = errors.New("no CNI configuration")
	st, err := rt.Status(t.Context(), &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	conditions := st.Status.Conditions
	if len(conditions) != 2 || !conditions[0].Status || conditions[1].Status || conditions[1].Message != "no CNI configuration" {
		t.Errorf("conditions = %v", conditions)
	}
	if len(st.RuntimeHandlers) != 2 || st.RuntimeHandlers[1].Name != "big" {
		t.Errorf("handlers = %v", st.RuntimeHandlers)
	}
	if got := st.Info["accelerator"]; got != `"tcg"` {
		t.Errorf("info = %v", st.Info)
	}
}

func TestServer_Images(t *testing.T) {
	f := newFakeNode()
	_, im := client(t, newTestServer(t, f, nil))
	ctx := t.Context()
	spec := &runtimeapi.ImageSpec{Image: "registry.test/web:1"}
	pull, err := im.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec, Auth: &runtimeapi.AuthConfig{Username: "u", Password: "p"}})
	if err != nil || pull.ImageRef != "sha256:web" {
		t.Fatalf("PullImage = %v, %v", pull, err)
	}
	if got := fmt.Sprintf("%v %+v %#v", f.auth, f.auth, f.auth); strings.Contains(got, `p"`) || f.auth.Password != "p" {
		t.Errorf("auth shows as %s", got)
	}
	st, err := im.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: spec, Verbose: true})
	if err != nil || st.Image.Id != pull.ImageRef || st.Image.Uid.GetValue() != 1000 || st.Info["config"] != `{"os":"linux"}` {
		t.Errorf("ImageStatus = %v, %v", st, err)
	}
	list, err := im.ListImages(ctx, &runtimeapi.ListImagesRequest{Filter: &runtimeapi.ImageFilter{Image: spec}})
	if err != nil || len(list.Images) != 1 {
		t.Errorf("ListImages = %v, %v", list, err)
	}
	fs, err := im.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil || fs.ImageFilesystems[0].UsedBytes.Value != 42 || fs.ImageFilesystems[0].InodesUsed.Value != 7 ||
		fs.ContainerFilesystems[0].UsedBytes.Value != 13 || fs.ContainerFilesystems[0].InodesUsed.Value != 2 {
		t.Errorf("ImageFsInfo = %v, %v", fs, err)
	}
}

// runningContainer puts a running container into f.
func runningContainer(f *fakeNode) string {
	f.containers["c1"] = sandbox.Container{ID: "c1", Phase: sandbox.ContainerRunning, CreatedAt: created}
	return "c1"
}

func TestExecSync_Timeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNode()
		f.exec = func(ctx context.Context, _ sandbox.ExecSpec, _ sandbox.Streams) (int, error) {
			<-ctx.Done()
			return 0, fmt.Errorf("wait for process: %w", ctx.Err())
		}
		s := newTestServer(t, f, nil)
		start := time.Now()
		_, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: runningContainer(f), Cmd: []string{"sleep"}, Timeout: 5})
		if codeOf(err) != codes.DeadlineExceeded || !strings.Contains(fmt.Sprint(err), "within 5s") {
			t.Errorf("ExecSync = %v, want DeadlineExceeded", err)
		}
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v, want 5s", took)
		}
	})
}

func TestExecSync_OutputIsCut(t *testing.T) {
	f := newFakeNode()
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	f.exec = func(_ context.Context, e sandbox.ExecSpec, s sandbox.Streams) (int, error) {
		for range 20 {
			for _, w := range []interface{ Write([]byte) (int, error) }{s.Stdout, s.Stderr} {
				if n, err := w.Write(chunk); n != len(chunk) || err != nil {
					return 0, fmt.Errorf("write: %d %w", n, err)
				}
			}
		}
		return 3, nil
	}
	s := newTestServer(t, f, nil)
	resp, err := s.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: runningContainer(f), Cmd: []string{"yes"}})
	if err != nil || resp.ExitCode != 3 {
		t.Fatalf("ExecSync = %v, want exit code 3", err)
	}
	if got := len(resp.Stdout) + len(resp.Stderr); got > maxMessage || got < maxMessage-8192 {
		t.Errorf("%d bytes, want just under %d", got, maxMessage)
	}
}

func TestServer_PanicIsInternal(t *testing.T) {
	f := newFakeNode()
	f.exec = func(context.Context, sandbox.ExecSpec, sandbox.Streams) (int, error) { panic("boom") }
	reg := prometheus.NewRegistry()
	rt, _ := client(t, newTestServer(t, f, reg))
	_, err := rt.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: runningContainer(f), Cmd: []string{"x"}})
	if status.Code(err) != codes.Internal {
		t.Errorf("ExecSync = %v, want Internal", err)
	}
	if _, err := rt.Version(t.Context(), &runtimeapi.VersionRequest{}); err != nil {
		t.Errorf("Version after a panic = %v", err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			got = append(got, fam.GetName()+" "+m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue())
		}
	}
	want := []string{
		"porthole_cri_call_seconds ExecSync Internal", "porthole_cri_call_seconds Version OK",
		"porthole_cri_calls_total ExecSync Internal", "porthole_cri_calls_total Version OK",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestCodeOf(t *testing.T) {
	tests := []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{errors.New("x"), codes.Internal},
		{fmt.Errorf("x: %w", errdefs.ErrUnknown), codes.Internal},
		{status.Error(codes.Unknown, "x"), codes.Internal},
		{fmt.Errorf("x: %w", errdefs.ErrNotFound), codes.NotFound},
		{fmt.Errorf("x: %w", errdefs.ErrNotImplemented), codes.Unimplemented},
		{fmt.Errorf("x: %w", errors.ErrUnsupported), codes.Unimplemented},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{fmt.Errorf("x: %w: %w", context.Canceled, errdefs.ErrUnavailable), codes.Canceled},
		{errors.Join(errdefs.ErrResourceExhausted, errors.New("undo")), codes.ResourceExhausted},
		{errors.Join(errdefs.ErrUnavailable, context.DeadlineExceeded, errdefs.ErrInvalidArgument), codes.Unavailable},
		{status.Error(codes.Aborted, "x"), codes.Aborted},
		{fmt.Errorf("write x: %w", diskfull.Number), codes.ResourceExhausted},
		{fmt.Errorf("%w: %w", errdefs.ErrDataLoss, diskfull.Number), codes.DataLoss},
	}
	for _, tt := range tests {
		if got := codeOf(tt.err); got != tt.want {
			t.Errorf("codeOf(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestClean(t *testing.T) {
	if got := clean("a\xffb", 10); got != "a\uFFFDb" {
		t.Errorf("clean(invalid) = %q", got)
	}
	if got := clean(strings.Repeat("ä", 100), 50); len(got) > 50 || !strings.Contains(got, "[…]") {
		t.Errorf("clean(long) = %q, %d bytes", got, len(got))
	}
}

// TestServer_HasEveryVerb makes sure that no verb is answered by the generated default,
// which says nothing of use.
func TestServer_HasEveryVerb(t *testing.T) {
	server := reflect.TypeFor[*Server]()
	for _, embedded := range []reflect.Type{
		reflect.TypeFor[runtimeapi.UnimplementedRuntimeServiceServer](), reflect.TypeFor[runtimeapi.UnimplementedImageServiceServer](),
	} {
		s := newTestServer(t, newFakeNode(), nil)
		for m := range embedded.Methods() {
			own, _ := server.MethodByName(m.Name)
			args := []reflect.Value{reflect.ValueOf(s)}
			for i := 1; i < own.Type.NumIn(); i++ {
				switch in := own.Type.In(i); {
				case in == reflect.TypeFor[context.Context]():
					args = append(args, reflect.ValueOf(t.Context()))
				case in.Kind() == reflect.Pointer:
					args = append(args, reflect.New(in.Elem()))
				default:
					args = append(args, reflect.Zero(in))
				}
			}
			func() {
				defer func() { _ = recover() }() // of our own code, which needs a stream
				out := own.Func.Call(args)
				if err, _ := out[len(out)-1].Interface().(error); status.Code(err) == codes.Unimplemented {
					t.Errorf("%s is answered by the generated default: %v", m.Name, err)
				}
			}()
		}
	}
}

func TestServer_RuntimeConfig(t *testing.T) {
	for driver, want := range map[string]*runtimeapi.LinuxRuntimeConfiguration{
		"":             nil,
		CgroupfsDriver: {CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS},
		SystemdDriver:  {CgroupDriver: runtimeapi.CgroupDriver_SYSTEMD},
	} {
		s := newTestServer(t, newFakeNode(), nil)
		s.opts.CgroupDriver = driver
		got, err := s.RuntimeConfig(t.Context(), &runtimeapi.RuntimeConfigRequest{})
		if err != nil || !proto.Equal(got.GetLinux(), want) {
			t.Errorf("with %q: %v, %v, want %v", driver, got.GetLinux(), err, want)
		}
	}
}
