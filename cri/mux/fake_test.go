package mux

import (
	"context"
	"errors"
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

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime simulates a CRI runtime: pods, containers and images as data. Ids begin with
// its prefix. fail makes the named method return an error.
type fakeRuntime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer
	prefix   string
	handlers []string

	mu         sync.Mutex
	pods       map[string]*runtimeapi.PodSandbox
	containers map[string]*runtimeapi.Container
	images     map[string]*runtimeapi.Image // by name
	fail       map[string]error
	calls      []string
	md         metadata.MD // of the last call
	next       int
	events     chan *runtimeapi.ContainerEventResponse // nil: Unimplemented
}

func newFakeRuntime(prefix string, handlers ...string) *fakeRuntime {
	return &fakeRuntime{
		prefix: prefix, handlers: handlers, fail: map[string]error{},
		pods: map[string]*runtimeapi.PodSandbox{}, containers: map[string]*runtimeapi.Container{}, images: map[string]*runtimeapi.Image{},
	}
}

// String is the state: pods, containers, images.
func (f *fakeRuntime) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(f.pods)) {
		fmt.Fprintf(&b, "pod %s %s %s\n", id, f.pods[id].GetMetadata().GetName(), f.pods[id].GetState())
	}
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		fmt.Fprintf(&b, "container %s of %s %s\n", id, f.containers[id].GetPodSandboxId(), f.containers[id].GetState())
	}
	for _, name := range slices.Sorted(maps.Keys(f.images)) {
		fmt.Fprintf(&b, "image %s\n", name)
	}
	return b.String()
}

// intercept counts calls and injects failures.
func (f *fakeRuntime) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	f.mu.Lock()
	f.calls = append(f.calls, method)
	f.md, _ = metadata.FromIncomingContext(ctx)
	err := f.fail[method]
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return h(ctx, req)
}

func (f *fakeRuntime) setFail(method string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[method] = err
}

// called returns the methods called since the last time, without those that lists ask for.
func (f *fakeRuntime) called() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := strings.Join(f.calls, " ")
	f.calls = nil
	return all
}

func (f *fakeRuntime) server() *grpc.Server {
	g := grpc.NewServer(grpc.UnaryInterceptor(f.intercept))
	runtimeapi.RegisterRuntimeServiceServer(g, f)
	runtimeapi.RegisterImageServiceServer(g, f)
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: "runtime.v2.RuntimeService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Dance", Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var r runtimeapi.VersionRequest
			if err := dec(&r); err != nil {
				return nil, err
			}
			return &runtimeapi.VersionResponse{Version: r.GetVersion() + " danced by " + f.prefix}, nil
		}}},
	}, f)
	return g
}

// Serve implements Local.
func (f *fakeRuntime) Serve(ctx context.Context, l net.Listener) error {
	g := f.server()
	stopped := context.AfterFunc(ctx, g.Stop)
	defer stopped()
	if err := g.Serve(l); !errors.Is(err, grpc.ErrServerStopped) { // it was stopped before it began
		return err
	}
	return nil
}

func (f *fakeRuntime) RunPodSandbox(_ context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.handlers, r.GetRuntimeHandler()) {
		return nil, status.Errorf(codes.InvalidArgument, "no runtime for %q", r.GetRuntimeHandler())
	}
	f.next++
	id := fmt.Sprintf("%s%06d", f.prefix, f.next)
	f.pods[id] = &runtimeapi.PodSandbox{
		Id: id, Metadata: r.GetConfig().GetMetadata(), State: runtimeapi.PodSandboxState_SANDBOX_READY, CreatedAt: time.Now().UnixNano(),
		Labels: r.GetConfig().GetLabels(), Annotations: r.GetConfig().GetAnnotations(), RuntimeHandler: r.GetRuntimeHandler(),
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

func (f *fakeRuntime) StopPodSandbox(_ context.Context, r *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.pods[r.GetPodSandboxId()]; p != nil {
		p.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

func (f *fakeRuntime) RemovePodSandbox(_ context.Context, r *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, r.GetPodSandboxId())
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (f *fakeRuntime) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, p := range f.pods {
		if strings.HasPrefix(id, r.GetPodSandboxId()) {
			return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{Id: id, Metadata: p.GetMetadata(), State: p.GetState()}}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "%s has no pod %s", f.prefix, r.GetPodSandboxId())
}

func (f *fakeRuntime) ListPodSandbox(_ context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &runtimeapi.ListPodSandboxResponse{}
	for _, id := range slices.Sorted(maps.Keys(f.pods)) {
		p := f.pods[id]
		if q := r.GetFilter(); strings.HasPrefix(id, q.GetId()) && selected(p.GetLabels(), q.GetLabelSelector()) &&
			(q.GetState() == nil || q.GetState().GetState() == p.GetState()) {
			resp.Items = append(resp.Items, p)
		}
	}
	return resp, nil
}

func (f *fakeRuntime) CreateContainer(_ context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := false
	for _, img := range f.images {
		found = found || img.GetId() == r.GetConfig().GetImage().GetImage()
	}
	if !found {
		return nil, status.Errorf(codes.NotFound, "%s has no image %s", f.prefix, r.GetConfig().GetImage().GetImage())
	}
	f.next++
	id := fmt.Sprintf("%s%06d", f.prefix, f.next)
	f.containers[id] = &runtimeapi.Container{Id: id, PodSandboxId: r.GetPodSandboxId(), Metadata: r.GetConfig().GetMetadata(), Image: r.GetConfig().GetImage()}
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, nil
}

func (f *fakeRuntime) StartContainer(_ context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[r.GetContainerId()]
	if c == nil {
		return nil, status.Errorf(codes.NotFound, "%s has no container %s", f.prefix, r.GetContainerId())
	}
	c.State = runtimeapi.ContainerState_CONTAINER_RUNNING
	return &runtimeapi.StartContainerResponse{}, nil
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, r *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.containers, r.GetContainerId())
	return &runtimeapi.RemoveContainerResponse{}, nil
}

func (f *fakeRuntime) ListContainers(_ context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &runtimeapi.ListContainersResponse{}
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		if strings.HasPrefix(id, r.GetFilter().GetId()) {
			resp.Containers = append(resp.Containers, f.containers[id])
		}
	}
	return resp, nil
}

func (f *fakeRuntime) Exec(_ context.Context, r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return &runtimeapi.ExecResponse{Url: "http://" + f.prefix + "/exec/" + r.GetContainerId()}, nil
}

func (f *fakeRuntime) PortForward(_ context.Context, r *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return &runtimeapi.PortForwardResponse{Url: "http://" + f.prefix + "/portforward/" + r.GetPodSandboxId()}, nil
}

func (f *fakeRuntime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: f.prefix, RuntimeVersion: "1.2.3"}, nil
}

func (f *fakeRuntime) Status(_ context.Context, r *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	resp := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: "RuntimeReady", Status: true}, {Type: "NetworkReady", Status: true},
		}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}
	for _, h := range f.handlers {
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimeapi.RuntimeHandler{Name: h})
	}
	if r.GetVerbose() {
		resp.Info = map[string]string{"config": f.prefix}
	}
	return resp, nil
}

func (f *fakeRuntime) ListContainerStats(context.Context, *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return &runtimeapi.ListContainerStatsResponse{Stats: []*runtimeapi.ContainerStats{{Attributes: &runtimeapi.ContainerAttributes{Id: f.prefix}}}}, nil
}

func (f *fakeRuntime) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	return &runtimeapi.ListMetricDescriptorsResponse{Descriptors: []*runtimeapi.MetricDescriptor{{Name: "shared", Help: f.prefix}, {Name: f.prefix}}}, nil
}

func (f *fakeRuntime) GetContainerEvents(_ *runtimeapi.GetEventsRequest, s grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	if f.events == nil {
		return status.Error(codes.Unimplemented, "no events")
	}
	for {
		select {
		case e, ok := <-f.events:
			if !ok {
				return status.Error(codes.Unavailable, "restarts")
			}
			if err := s.Send(e); err != nil {
				return err
			}
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
}

func (f *fakeRuntime) image(ref string) *runtimeapi.Image {
	if img := f.images[ref]; img != nil {
		return img
	}
	for _, img := range f.images {
		if img.GetId() == ref {
			return img
		}
	}
	return nil
}

func (f *fakeRuntime) PullImage(_ context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ref := r.GetImage().GetImage()
	f.images[ref] = &runtimeapi.Image{Id: "sha256:" + ref, RepoTags: []string{ref}, Size: 10}
	return &runtimeapi.PullImageResponse{ImageRef: "sha256:" + ref}, nil
}

func (f *fakeRuntime) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &runtimeapi.ImageStatusResponse{Image: f.image(r.GetImage().GetImage())}, nil
}

func (f *fakeRuntime) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	resp := &runtimeapi.ListImagesResponse{}
	for _, name := range slices.Sorted(maps.Keys(f.images)) {
		resp.Images = append(resp.Images, f.images[name])
	}
	return resp, nil
}

func (f *fakeRuntime) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.image(r.GetImage().GetImage())
	if img == nil {
		return nil, status.Error(codes.NotFound, "no such image")
	}
	delete(f.images, img.GetRepoTags()[0])
	return &runtimeapi.RemoveImageResponse{}, nil
}

func (f *fakeRuntime) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	use := func(at string, n uint64) *runtimeapi.FilesystemUsage {
		return &runtimeapi.FilesystemUsage{FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: at}, UsedBytes: &runtimeapi.UInt64Value{Value: n}}
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems: []*runtimeapi.FilesystemUsage{use("/"+f.prefix, 7), use("/shared", 5)},
	}, nil
}

// rig is a Mux over two fakes, and a client of it.
type rig struct {
	t        *testing.T
	ours     *fakeRuntime
	upstream *fakeRuntime
	socket   string
	stop     func() // ends upstream's server
	config   func(*Config)
	mux      *Mux
	runtime  runtimeapi.RuntimeServiceClient
	images   runtimeapi.ImageServiceClient
	conn     *grpc.ClientConn
	cancel   context.CancelFunc // tells the Mux to end
	close    func()             // ends the Mux, so that start can be called again
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{
		t: t, ours: newFakeRuntime("aaaa", "", "vm"), upstream: newFakeRuntime("bbbb", "", "runc", "runhcs"),
		socket: filepath.Join(t.TempDir(), "up.sock"), config: change,
	}
	r.startUpstream()
	r.start()
	t.Cleanup(func() {
		r.close()
		r.stop()
	})
	return r
}

func (r *rig) startUpstream() {
	r.t.Helper()
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		r.t.Fatal(err)
	}
	g := r.upstream.server()
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	r.stop = sync.OnceFunc(func() {
		g.Stop()
		<-done
	})
}

// start makes a new Mux, as after a restart of the daemon.
func (r *rig) start() {
	t := r.t
	t.Helper()
	c := Config{
		Local: r.ours, Upstream: "unix://" + r.socket, Handlers: []string{"vm"}, AskTimeout: 2 * time.Second, Grace: time.Nanosecond,
		DrainTimeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if r.config != nil {
		r.config(&c)
	}
	var err error
	if r.mux, err = New(c); err != nil {
		t.Fatal(err)
	}
	l := newMemoryListener()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	served := make(chan error, 1)
	go func() { served <- r.mux.Serve(ctx, l) }()
	r.conn, err = grpc.NewClient("passthrough:///mux", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.dial(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	r.runtime, r.images = runtimeapi.NewRuntimeServiceClient(r.conn), runtimeapi.NewImageServiceClient(r.conn)
	mux, conn := r.mux, r.conn
	r.close = sync.OnceFunc(func() {
		_ = conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
		if err := mux.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
}

// run runs a pod as a kubelet does.
func (r *rig) run(name, handler string) string {
	r.t.Helper()
	resp, err := r.runtime.RunPodSandbox(r.t.Context(), &runtimeapi.RunPodSandboxRequest{RuntimeHandler: handler, Config: podConfig(name)})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.GetPodSandboxId()
}

func podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "uid-" + name},
		Labels:   map[string]string{uidLabel: "uid-" + name}, Annotations: podAnnotations(name),
	}
}

func podAnnotations(name string) map[string]string {
	return map[string]string{seenAnnotation: "2026-11-23T03:40:56.719173000Z-" + name, "kubernetes.io/config.source": "api"}
}
