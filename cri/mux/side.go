package mux

import (
	"cmp"
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// side is one of the two runtimes, and what is known of it.
type side struct {
	name    string // immutable, as are the clients
	conn    *grpc.ClientConn
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient

	mu         sync.Mutex // guards what follows
	pods       map[string]*runtimeapi.PodSandbox
	containers map[string]*runtimeapi.Container
	listed     bool // both lists were had in whole at least once: pods and containers stand for absent ones
	status     *runtimeapi.StatusResponse
}

// newSide returns the side that dial connects to, when it is first called.
func newSide(name string, dial func(context.Context) (net.Conn, error)) (*side, error) {
	conn, err := grpc.NewClient("passthrough:///"+name,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's rights are the protection
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, Jitter: .2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}))
	if err != nil {
		return nil, err
	}
	return &side{
		name: name, conn: conn,
		runtime: runtimeapi.NewRuntimeServiceClient(conn), images: runtimeapi.NewImageServiceClient(conn),
		pods: map[string]*runtimeapi.PodSandbox{}, containers: map[string]*runtimeapi.Container{},
	}, nil
}

func (s *side) hasPod(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[id] != nil
}

func (s *side) hasContainer(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.containers[id] != nil
}

// learnPods takes in pods of a list; whole says that the list has all.
func (s *side) learnPods(list []*runtimeapi.PodSandbox, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if whole {
		clear(s.pods)
		s.listed = true
	}
	for _, p := range list {
		s.pods[p.GetId()] = p
	}
}

// learnContainers is learnPods for containers.
func (s *side) learnContainers(list []*runtimeapi.Container, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if whole {
		clear(s.containers)
	}
	for _, c := range list {
		s.containers[c.GetId()] = c
	}
}

func (s *side) forgetPod(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, id)
	maps.DeleteFunc(s.containers, func(_ string, c *runtimeapi.Container) bool { return c.GetPodSandboxId() == id })
}

func (s *side) forgetContainer(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, id)
}

// podWhere returns the pod that matches; of several a ready one, then the newest.
func (s *side) podWhere(match func(*runtimeapi.PodSandbox) bool) *runtimeapi.PodSandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *runtimeapi.PodSandbox
	for _, p := range s.pods {
		if match(p) && (best == nil || newer(p, best)) {
			best = p
		}
	}
	return best
}

// newer tells whether a pod's sandbox is likelier than b the one that is in use.
func newer(a, b *runtimeapi.PodSandbox) bool {
	ready := func(p *runtimeapi.PodSandbox) int {
		if p.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(ready(a), ready(b)), cmp.Compare(a.GetCreatedAt(), b.GetCreatedAt())) > 0
}

// lastPods are the pods as they were seen last that match the filter; ok is false when
// none were ever seen.
func (s *side) lastPods(f *runtimeapi.PodSandboxFilter) (list []*runtimeapi.PodSandbox, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.pods)) {
		p := s.pods[id]
		if strings.HasPrefix(id, f.GetId()) && (f.GetState() == nil || f.GetState().GetState() == p.GetState()) && selected(p.GetLabels(), f.GetLabelSelector()) {
			list = append(list, p)
		}
	}
	return list, s.listed
}

// lastContainers is lastPods for containers.
func (s *side) lastContainers(f *runtimeapi.ContainerFilter) (list []*runtimeapi.Container, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.containers)) {
		c := s.containers[id]
		if strings.HasPrefix(id, f.GetId()) && strings.HasPrefix(c.GetPodSandboxId(), f.GetPodSandboxId()) &&
			(f.GetState() == nil || f.GetState().GetState() == c.GetState()) && selected(c.GetLabels(), f.GetLabelSelector()) {
			list = append(list, c)
		}
	}
	return list, s.listed
}

func selected(labels, want map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
