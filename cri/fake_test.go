package cri

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// fakeNode simulates the domain: pods and containers that live in maps, an image store
// of names, streams that are URLs. fail makes the named method return an error.
type fakeNode struct {
	mu         sync.Mutex
	pods       map[string]sandbox.Pod
	containers map[string]sandbox.Container
	images     map[string]Image
	auth       Auth // of the last pull
	next       int
	fail       map[string]error
	usage      usage.Container    // of each running container
	events     chan sandbox.Event // what Events tells; closed: its reader is too slow
	exec       func(ctx context.Context, e sandbox.ExecSpec, s sandbox.Streams) (int, error)
}

func newFakeNode() *fakeNode {
	return &fakeNode{
		pods: map[string]sandbox.Pod{}, containers: map[string]sandbox.Container{}, fail: map[string]error{},
		events: make(chan sandbox.Event),
		images: map[string]Image{"registry.test/web:1": {
			ID: "sha256:web", Tags: []string{"registry.test/web:1"}, Digests: []string{"registry.test/web@sha256:m"},
			Bytes: 42, User: "1000:1000", Config: []byte(`{"os":"linux"}`),
		}},
	}
}

var created = time.Unix(1700000000, 5)

func (f *fakeNode) enter(method string) (func(), error) {
	f.mu.Lock()
	return f.mu.Unlock, f.fail[method]
}

func (f *fakeNode) id(kind string) string {
	f.next++
	return fmt.Sprintf("%s%d", kind, f.next)
}

func notFound(noun, id string) error { return fmt.Errorf("%s %s: %w", noun, id, errdefs.ErrNotFound) }

func (f *fakeNode) RunPod(_ context.Context, c sandbox.PodConfig) (string, error) {
	unlock, err := f.enter("RunPod")
	defer unlock()
	if err != nil {
		return "", err
	}
	if n := c.Namespaces; n.Network == sandbox.NamespaceNode || n.PID == sandbox.NamespaceNode || n.IPC == sandbox.NamespaceNode {
		return "", fmt.Errorf("namespace_options.network, pid or ipc: NODE: %w", errdefs.ErrNotImplemented) // as the manager by default
	}
	id := f.id("pod")
	f.pods[id] = sandbox.Pod{ID: id, Config: c, State: sandbox.PodReady, CreatedAt: created, IPs: []string{"10.0.0.2", "fd00::2"}}
	return id, nil
}

func (f *fakeNode) StopPod(_ context.Context, id string) error {
	unlock, err := f.enter("StopPod")
	defer unlock()
	p, ok := f.pods[id]
	if err == nil && !ok {
		err = notFound("pod sandbox", id)
	}
	if err != nil {
		return err
	}
	p.State, p.IPs = sandbox.PodNotReady, nil
	f.pods[id] = p
	return nil
}

func (f *fakeNode) RemovePod(_ context.Context, id string) error {
	unlock, err := f.enter("RemovePod")
	defer unlock()
	if _, ok := f.pods[id]; err == nil && !ok {
		err = notFound("pod sandbox", id)
	}
	delete(f.pods, id)
	return err
}

func (f *fakeNode) Pod(_ context.Context, id string) (sandbox.Pod, error) {
	unlock, err := f.enter("Pod")
	defer unlock()
	p, ok := f.pods[id]
	if err == nil && !ok {
		err = notFound("pod sandbox", id)
	}
	return p, err
}

func (f *fakeNode) Pods(_ context.Context, filter sandbox.PodFilter) ([]sandbox.Pod, error) {
	unlock, err := f.enter("Pods")
	defer unlock()
	var out []sandbox.Pod
	for _, id := range slices.Sorted(maps.Keys(f.pods)) {
		p := f.pods[id]
		if strings.HasPrefix(id, filter.ID) && (filter.State == "" || filter.State == p.State) && matches(p.Config.Labels, filter.Labels) {
			out = append(out, p)
		}
	}
	return out, err
}

func (f *fakeNode) EachPod(ctx context.Context, filter sandbox.PodFilter, do func(*sandbox.Pod)) error {
	all, err := f.Pods(ctx, filter)
	for i := range all {
		do(&all[i])
	}
	return err
}

func matches(labels, want map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func (f *fakeNode) CreateContainer(_ context.Context, podID string, c sandbox.ContainerConfig) (string, error) {
	unlock, err := f.enter("CreateContainer")
	defer unlock()
	img, ok := f.images[c.Image]
	if err == nil && !ok {
		err = notFound("image", c.Image)
	}
	if err != nil {
		return "", err
	}
	id := f.id("ctr")
	f.containers[id] = sandbox.Container{
		ID: id, PodID: podID, Config: c, ImageID: img.ID, Phase: sandbox.ContainerCreatedPhase, CreatedAt: created,
		LogPath: filepath.Join(f.pods[podID].Config.LogDirectory, c.LogPath), StopSignal: "SIGTERM",
	}
	return id, nil
}

// change applies to to the container.
func (f *fakeNode) change(method, id string, to func(*sandbox.Container)) error {
	unlock, err := f.enter(method)
	defer unlock()
	c, ok := f.containers[id]
	if err == nil && !ok {
		err = notFound("container", id)
	}
	if err != nil {
		return err
	}
	to(&c)
	f.containers[id] = c
	return nil
}

func (f *fakeNode) StartContainer(_ context.Context, id string) error {
	return f.change("StartContainer", id, func(c *sandbox.Container) { c.Phase, c.StartedAt = sandbox.ContainerRunning, created })
}

func (f *fakeNode) StopContainer(_ context.Context, id string, _ time.Duration) error {
	return f.change("StopContainer", id, func(c *sandbox.Container) {
		c.Phase, c.FinishedAt, c.ExitCode, c.Reason = sandbox.ContainerExited, created, 143, "Error"
	})
}

func (f *fakeNode) UpdatePod(_ context.Context, id string, resources, overhead *sandbox.Resources) error {
	unlock, err := f.enter("UpdatePod")
	defer unlock()
	p, ok := f.pods[id]
	if err == nil && !ok {
		err = notFound("pod sandbox", id)
	}
	if err != nil {
		return err
	}
	if resources != nil {
		p.Config.Resources = *resources
	}
	if overhead != nil {
		p.Config.Overhead = *overhead
	}
	f.pods[id] = p
	return nil
}

func (f *fakeNode) UpdateContainer(_ context.Context, id string, r sandbox.Resources) error {
	return f.change("UpdateContainer", id, func(c *sandbox.Container) { c.Config.Resources = r })
}

func (f *fakeNode) RemoveContainer(_ context.Context, id string) error {
	unlock, err := f.enter("RemoveContainer")
	defer unlock()
	if _, ok := f.containers[id]; err == nil && !ok {
		err = notFound("container", id)
	}
	delete(f.containers, id)
	return err
}

func (f *fakeNode) Container(_ context.Context, id string) (sandbox.Container, error) {
	unlock, err := f.enter("Container")
	defer unlock()
	c, ok := f.containers[id]
	if err == nil && !ok {
		err = notFound("container", id)
	}
	return c, err
}

func (f *fakeNode) Containers(_ context.Context, filter sandbox.ContainerFilter) ([]sandbox.Container, error) {
	unlock, err := f.enter("Containers")
	defer unlock()
	var out []sandbox.Container
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		c := f.containers[id]
		if strings.HasPrefix(id, filter.ID) && strings.HasPrefix(c.PodID, filter.PodID) &&
			(filter.Phase == "" || filter.Phase == c.Phase) && matches(c.Config.Labels, filter.Labels) {
			out = append(out, c)
		}
	}
	return out, err
}

func (f *fakeNode) EachContainer(ctx context.Context, filter sandbox.ContainerFilter, do func(*sandbox.Container)) error {
	all, err := f.Containers(ctx, filter)
	for i := range all {
		do(&all[i])
	}
	return err
}

func (f *fakeNode) Exec(ctx context.Context, _ string, e sandbox.ExecSpec, s sandbox.Streams) (int, error) {
	if f.exec == nil {
		return 0, nil
	}
	return f.exec(ctx, e, s)
}

func (f *fakeNode) ReopenContainerLog(context.Context, string) error {
	unlock, err := f.enter("ReopenContainerLog")
	defer unlock()
	return err
}

func (f *fakeNode) NetworkReady(context.Context) error {
	unlock, err := f.enter("NetworkReady")
	defer unlock()
	return err
}

func (f *fakeNode) Pull(_ context.Context, ref string, auth Auth) (string, error) {
	unlock, err := f.enter("Pull")
	defer unlock()
	f.auth = auth
	return f.images[ref].ID, err
}

func (f *fakeNode) Image(_ context.Context, ref string) (Image, error) {
	unlock, err := f.enter("Image")
	defer unlock()
	img, ok := f.images[ref]
	if err == nil && !ok {
		err = notFound("image", ref)
	}
	return img, err
}

func (f *fakeNode) Images(context.Context) ([]Image, error) {
	unlock, err := f.enter("Images")
	defer unlock()
	return slices.Collect(maps.Values(f.images)), err
}

func (f *fakeNode) Remove(_ context.Context, ref string) error {
	unlock, err := f.enter("Remove")
	defer unlock()
	if _, ok := f.images[ref]; err == nil && !ok {
		err = notFound("image", ref)
	}
	delete(f.images, ref)
	return err
}

func (f *fakeNode) FsInfo(context.Context) (FsInfo, error) {
	unlock, err := f.enter("FsInfo")
	defer unlock()
	return FsInfo{At: created, Mountpoint: "/var/lib/porthole", UsedBytes: 42, UsedInodes: 7}, err
}

func (f *fakeNode) DiskInfo(context.Context) (FsInfo, error) {
	unlock, err := f.enter("DiskInfo")
	defer unlock()
	return FsInfo{At: created, Mountpoint: "/var/lib/porthole", UsedBytes: 13, UsedInodes: 2}, err
}

func (f *fakeNode) ContainerUsage(ctx context.Context, id string) (sandbox.ContainerUsage, error) {
	c, err := f.Container(ctx, id)
	u := sandbox.ContainerUsage{Container: c}
	if c.Phase == sandbox.ContainerRunning {
		n := uint64(250_000_000)
		u.Usage, u.NanoCores = f.usage, &n
	}
	return u, err
}

func (f *fakeNode) ContainersUsage(ctx context.Context, filter sandbox.ContainerFilter) ([]sandbox.ContainerUsage, error) {
	all, err := f.Containers(ctx, filter)
	var out []sandbox.ContainerUsage
	for _, c := range all {
		u, err := f.ContainerUsage(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, err
}

func (f *fakeNode) PodUsage(ctx context.Context, id string) (sandbox.PodUsage, error) {
	p, err := f.Pod(ctx, id)
	if err != nil {
		return sandbox.PodUsage{}, err
	}
	containers, err := f.ContainersUsage(ctx, sandbox.ContainerFilter{PodID: id, Phase: sandbox.ContainerRunning})
	return sandbox.PodUsage{
		Pod: p, Containers: containers,
		Usage: usage.Pod{Group: f.usage.Group, Interfaces: []usage.Interface{{Name: "eth0", RxBytes: 5, RxPackets: 1, TxBytes: 6, TxErrors: 1}, {Name: "net1"}}},
	}, err
}

func (f *fakeNode) PodsUsage(ctx context.Context, filter sandbox.PodFilter, _ bool) ([]sandbox.PodUsage, error) {
	all, err := f.Pods(ctx, filter)
	var out []sandbox.PodUsage
	for _, p := range all {
		u, err := f.PodUsage(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, err
}

func (f *fakeNode) EachContainerUsage(ctx context.Context, filter sandbox.ContainerFilter, do func(*sandbox.ContainerUsage)) error {
	all, err := f.ContainersUsage(ctx, filter)
	for i := range all {
		do(&all[i])
	}
	return err
}

func (f *fakeNode) EachPodUsage(ctx context.Context, filter sandbox.PodFilter, openFiles bool, do func(*sandbox.PodUsage)) error {
	all, err := f.PodsUsage(ctx, filter, openFiles)
	for i := range all {
		do(&all[i])
	}
	return err
}

func (f *fakeNode) Events(ctx context.Context, begun func() error, tell func(sandbox.Event) error) error {
	if err := begun(); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-f.events:
			if !ok {
				return fmt.Errorf("7 events were missed: %w", errdefs.ErrResourceExhausted)
			}
			if err := tell(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeNode) ExecURL(_ context.Context, e ExecURL) (string, error) {
	return "http://127.0.0.1/exec/" + e.ContainerID, nil
}

func (f *fakeNode) AttachURL(_ context.Context, a AttachURL) (string, error) {
	return "http://127.0.0.1/attach/" + a.ContainerID, nil
}

func (f *fakeNode) PortForwardURL(_ context.Context, podID string, _ []uint16) (string, error) {
	return "http://127.0.0.1/portforward/" + podID, nil
}

// newTestServer returns a Server over f that logs to the test.
func newTestServer(t testing.TB, f *fakeNode, reg prometheus.Registerer) *Server {
	return NewServer(
		Deps{Pods: f, Containers: f, Processes: f, Network: f, Images: f, Disks: f, Streams: f, Usage: f, Events: f},
		Options{
			Version: "0.1.0", Handlers: []string{"big"}, CgroupDriver: CgroupfsDriver, Metrics: reg,
			Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
			Info:   func(context.Context) map[string]any { return map[string]any{"accelerator": "tcg"} },
		})
}

// client serves s in memory until the test ends and returns its two clients.
func client(t *testing.T, s *Server) (runtimeapi.RuntimeServiceClient, runtimeapi.ImageServiceClient) {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	})
	return runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
}
