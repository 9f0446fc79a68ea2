package simnode

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// idField names the field of a request that has the id of what it is about.
func idField(m method) protoreflect.FieldDescriptor {
	fields := m.in.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"container_id", "pod_sandbox_id"} {
		if f := fields.ByName(name); f != nil {
			return f
		}
	}
	return nil
}

// TestWrongIDs calls each method that is about one thing with the id of none, and with that
// of a thing of the other kind.
func TestWrongIDs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // some calls want a deadline
	defer cancel()
	p := thePrey(t)
	p.reset(t)
	for _, m := range methods() {
		f := idField(m)
		if f == nil {
			continue
		}
		foreign := p.words[wordPod]
		if f.Name() == "pod_sandbox_id" {
			foreign = p.words[wordRunning]
		}
		want := codes.NotFound
		switch m.name() {
		case "StopPodSandbox", "RemovePodSandbox", "StopContainer", "RemoveContainer":
			want = codes.OK // the API: what is gone is stopped and removed
		case "CheckpointPod":
			want = codes.InvalidArgument // its other fields, which are empty here, are looked at first
		}
		for _, id := range []string{p.words[wordAbsent], foreign, "no-id", "../" + foreign, foreign + "\n"} {
			in := m.in.New()
			in.Set(f, protoreflect.ValueOfString(id))
			fillValid(in)
			err := p.call(ctx, m, in.Interface())
			if status.Code(err) != want && status.Code(err) != codes.Unimplemented {
				t.Errorf("%s of %q = %v, want %v", m.name(), id, err, want)
			}
		}
		in := m.in.New()
		fillValid(in)
		if err := p.call(ctx, m, in.Interface()); status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.Unimplemented {
			t.Errorf("%s without an id = %v, want InvalidArgument", m.name(), err)
		}
	}
}

// fillValid makes the rest of a request such that its id alone is wrong.
func fillValid(in protoreflect.Message) {
	switch r := in.Interface().(type) {
	case *runtimeapi.CreateContainerRequest:
		r.Config = &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "c"}, Image: &runtimeapi.ImageSpec{Image: "x"}}
	case *runtimeapi.ExecSyncRequest:
		r.Cmd = []string{"true"}
	case *runtimeapi.ExecRequest:
		r.Cmd, r.Stdout = []string{"true"}, true
	case *runtimeapi.AttachRequest:
		r.Stdout = true
	case *runtimeapi.PortForwardRequest:
		r.Port = []int32{80}
	case *runtimeapi.UpdateContainerResourcesRequest:
		r.Linux = &runtimeapi.LinuxContainerResources{CpuShares: 100}
	}
}

// TestWrongState calls methods on things that are there, in states that they do not take.
func TestWrongState(t *testing.T) {
	p := thePrey(t)
	p.reset(t)
	config := &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "more"}, Image: &runtimeapi.ImageSpec{Image: wordImage}}
	for _, in := range []proto.Message{
		&runtimeapi.CreateContainerRequest{PodSandboxId: wordStopped, Config: config},
		&runtimeapi.PortForwardRequest{PodSandboxId: wordStopped, Port: []int32{80}},
		&runtimeapi.StartContainerRequest{ContainerId: wordRunning},
		&runtimeapi.StartContainerRequest{ContainerId: wordExited},
		&runtimeapi.ExecSyncRequest{ContainerId: wordNew, Cmd: []string{"true"}},
		&runtimeapi.ExecSyncRequest{ContainerId: wordExited, Cmd: []string{"true"}},
		&runtimeapi.ExecRequest{ContainerId: wordExited, Cmd: []string{"true"}, Stdout: true},
		&runtimeapi.AttachRequest{ContainerId: wordNew, Stdout: true},
		&runtimeapi.ReopenContainerLogRequest{ContainerId: wordExited},
		&runtimeapi.UpdateContainerResourcesRequest{ContainerId: wordExited, Linux: &runtimeapi.LinuxContainerResources{CpuShares: 100}},
		&runtimeapi.PodSandboxStatsRequest{PodSandboxId: wordStopped},
	} {
		if err := p.send(t.Context(), in); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("%s %v = %v, want FailedPrecondition", in.ProtoReflect().Descriptor().Name(), in, err)
		}
	}
}

// send calls the method that a request is of.
func (p *prey) send(ctx context.Context, in proto.Message) error {
	in = proto.Clone(in)
	p.fill(in.ProtoReflect())
	for _, m := range methods() {
		if m.in.Descriptor() == in.ProtoReflect().Descriptor() {
			return p.call(ctx, m, in)
		}
	}
	return fmt.Errorf("no method takes %T", in)
}

// TestBadRequests sends those that are known to be hard, and what each has to get.
func TestBadRequests(t *testing.T) {
	p := thePrey(t)
	p.reset(t)
	for i, in := range badRequests() {
		limit := 30 * time.Second
		if _, ok := in.(*runtimeapi.ExecSyncRequest); ok {
			limit = 2 * time.Second // these have no end of their own
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		err := p.send(ctx, in)
		cancel()
		want := codes.InvalidArgument
		switch r := in.(type) {
		case *runtimeapi.ExecSyncRequest:
			want = codes.DeadlineExceeded
		case *runtimeapi.StopContainerRequest:
			want = codes.OK
			if r.Timeout < 0 {
				want = codes.InvalidArgument
			}
		case *runtimeapi.RunPodSandboxRequest:
			if r.Config.Metadata.Name == "climbing" {
				want = codes.OK // a log directory is where the caller says
			}
		case *runtimeapi.CreateContainerRequest:
			if r.Config.Metadata.Name == "../../x" {
				want = codes.OK // a name is no path
			}
		}
		if status.Code(err) != want {
			t.Errorf("%d: %s = %.300v, want %v", i, in.ProtoReflect().Descriptor().Name(), err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%d: an error of many lines: %.300q", i, err.Error())
		}
	}
	p.checkFiles(t)
}

// TestDeadlineMidway lets each deadline pass at several moments of the calls that change
// something: the name is free again, or the thing is there.
func TestDeadlineMidway(t *testing.T) {
	p := thePrey(t)
	p.reset(t)
	for ms := 0; ms < 10; ms++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(ms)*300*time.Microsecond)
		config := podConfig(fmt.Sprint("cut", ms))
		_, err := p.rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
		cancel()
		if code := status.Code(err); err != nil && code != codes.DeadlineExceeded {
			t.Errorf("RunPodSandbox cut after %d × 0.3 ms: %v", ms, err)
		}
		for {
			list, lerr := p.rt.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
			if lerr != nil {
				t.Fatal(lerr)
			}
			there := 0
			for _, i := range list.Items {
				if path.Base(i.Metadata.Name) == config.Metadata.Name {
					there++
				}
			}
			_, again := p.rt.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: config})
			if again == nil && (there != 0 || err == nil) {
				t.Errorf("%s was made twice", config.Metadata.Name)
			}
			if again == nil || there == 1 && status.Code(again) == codes.AlreadyExists {
				break
			}
			if status.Code(again) != codes.AlreadyExists { // it is being undone
				t.Fatal(again)
			}
		}
	}
}

// TestClientNeverReads attaches a client that sends and never reads: the daemon keeps a
// bounded part of it, serves others, and can end the container and itself.
func TestClientNeverReads(t *testing.T) {
	n, err := Start(t.Context(), Config{Dir: memory(t)})
	if err != nil {
		t.Fatal(err)
	}
	p := &prey{node: n}
	if p.conn, p.rt, p.im, err = n.Client(); err != nil {
		t.Fatal(err)
	}
	defer p.conn.Close()
	p.reset(t)
	exec, err := p.rt.Exec(t.Context(), &runtimeapi.ExecRequest{ContainerId: p.words[wordRunning], Cmd: []string{"yes"}, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(exec.Url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n", u.RequestURI(), u.Host)
	first := make([]byte, 12)
	if _, err := conn.Read(first); err != nil || string(first) != "HTTP/1.1 101" {
		t.Fatalf("the answer begins with %q, %v", first, err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	pause(t.Context(), 300*time.Millisecond) // the process prints all the time
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if _, err := p.rt.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: p.words[wordRunning], Cmd: []string{"echo"}}); err != nil {
		t.Errorf("another exec: %v", err)
	}
	begin := time.Now()
	if _, err := p.rt.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.words[wordPod]}); err != nil {
		t.Errorf("RemovePodSandbox: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("it took %v to end", took)
	}
}
