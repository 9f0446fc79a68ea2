package cri

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

func TestServer_Events(t *testing.T) {
	f := usageNode(t)
	rt, _ := client(t, newTestServer(t, f, nil))
	s, err := rt.GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Header(); err != nil { // before there is any event
		t.Fatal(err)
	}
	for kind, want := range map[sandbox.EventKind]runtimeapi.ContainerEventType{
		sandbox.EventCreated: runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT,
		sandbox.EventStarted: runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT,
		sandbox.EventStopped: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
		sandbox.EventDeleted: runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT,
	} {
		f.events <- sandbox.Event{Kind: kind, ID: "ctr2", At: created, Pod: f.pods["pod1"], Containers: []sandbox.Container{f.containers["ctr2"]}}
		got, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if got.ContainerEventType != want || got.ContainerId != "ctr2" || got.CreatedAt != created.UnixNano() ||
			got.PodSandboxStatus.GetMetadata().GetUid() != "u1" || got.PodSandboxStatus.GetNetwork().GetIp() != "10.0.0.2" ||
			len(got.ContainersStatuses) != 1 || got.ContainersStatuses[0].State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			t.Errorf("event %d = %v", kind, got)
		}
	}
	close(f.events)
	if _, err := s.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("of a reader that is too slow: %v, want ResourceExhausted", err)
	}
}

// TestServer_EventsEndWithServe: a stream that lasts for ever does not hold up the end of
// the daemon, and says why it ends.
func TestServer_EventsEndWithServe(t *testing.T) {
	l := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	s := newTestServer(t, newFakeNode(), nil)
	s.opts.DrainTimeout = time.Minute
	go func() { served <- s.Serve(ctx, l) }()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := runtimeapi.NewRuntimeServiceClient(conn).GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ends with %v, want Unavailable", err)
	}
	if err := <-served; err != nil || time.Since(begin) > 30*time.Second {
		t.Errorf("Serve = %v after %s, want nil at once", err, time.Since(begin))
	}
}
