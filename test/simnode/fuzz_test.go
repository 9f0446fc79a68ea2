package simnode

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	clog "github.com/containerd/log"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// method is a call of either service.
type method struct {
	full    string // "/runtime.v1.RuntimeService/Version"
	stream  bool
	in, out protoreflect.MessageType
}

func (m method) name() string { return path.Base(m.full) }

// methods are all calls of both services, in the order of the API.
func methods() (out []method) {
	services := runtimeapi.File_staging_src_k8s_io_cri_api_pkg_apis_runtime_v1_api_proto.Services()
	for i := range services.Len() {
		s := services.Get(i)
		for j := range s.Methods().Len() {
			m := s.Methods().Get(j)
			in, err := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
			if err != nil {
				panic(err)
			}
			to, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
			if err != nil {
				panic(err)
			}
			out = append(out, method{"/" + string(s.FullName()) + "/" + string(m.Name()), m.IsStreamingServer(), in, to})
		}
	}
	return out
}

// Words that stand for what only a running node knows, in requests that are made up.
const (
	wordPod     = "$POD"     // a ready pod's id
	wordStopped = "$STOPPED" // a pod's that is not ready
	wordNew     = "$NEW"     // a container's that was created
	wordRunning = "$RUNNING"
	wordExited  = "$EXITED"
	wordImage   = "$IMAGE" // a name
	wordAbsent  = "$ABSENT"
)

// prey is a node that requests are thrown at, with one thing in each state.
type prey struct {
	node *Node
	conn *grpc.ClientConn
	rt   runtimeapi.RuntimeServiceClient
	im   runtimeapi.ImageServiceClient
	host string // the folder that all host paths of requests lie in

	words map[string]string
}

var startPrey = sync.OnceValues(func() (*prey, error) {
	dir := "/dev/shm"
	if _, err := os.Stat(dir); err != nil {
		dir = ""
	}
	n, err := Start(context.Background(), Config{Dir: dir, Timeouts: sandbox.Timeouts{Kill: time.Second, Usage: time.Second}})
	if err != nil {
		return nil, err
	}
	p := &prey{node: n, words: map[string]string{}}
	if p.host, err = os.MkdirTemp(dir, "simhost"); err != nil {
		return nil, err
	}
	p.conn, p.rt, p.im, err = n.Client()
	return p, err
})

// cleanUp ends the node when all tests are done.
func (p *prey) cleanUp() error {
	return errors.Join(p.conn.Close(), p.node.Close(), os.RemoveAll(p.host))
}

func TestMain(m *testing.M) {
	clog.L.Logger.SetOutput(io.Discard) // of the libraries that pull images
	code := m.Run()
	if preyStarted {
		if p, err := startPrey(); err == nil && p.cleanUp() != nil {
			code = 1
		}
	}
	os.Exit(code)
}

var preyStarted bool

func thePrey(t testing.TB) *prey {
	t.Helper()
	p, err := startPrey()
	if err != nil {
		t.Fatal(err)
	}
	preyStarted = true
	return p
}

// reset brings the node to where it is known: what requests made goes.
func (p *prey) reset(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pods, err := p.rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	must(err)
	for _, pod := range pods.Items {
		_, err := p.rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod.Id})
		must(err)
	}
	image := &runtimeapi.ImageSpec{Image: p.node.Ref(App)}
	_, err = p.im.PullImage(ctx, &runtimeapi.PullImageRequest{Image: image})
	must(err)
	run := func(name string) string {
		r, err := p.rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: podConfig(name)})
		must(err)
		return r.PodSandboxId
	}
	p.words = map[string]string{wordPod: run("pod"), wordStopped: run("stopped"), wordImage: image.Image, wordAbsent: strings.Repeat("0", 32)}
	_, err = p.rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: p.words[wordStopped]})
	must(err)
	for _, word := range []string{wordNew, wordRunning, wordExited} {
		r, err := p.rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: p.words[wordPod],
			Config: &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: word[1:]}, Image: image}})
		must(err)
		p.words[word] = r.ContainerId
		if word != wordNew {
			_, err := p.rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: r.ContainerId})
			must(err)
		}
		if word == wordExited {
			_, err := p.rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: r.ContainerId})
			must(err)
		}
	}
}

// hostPaths are the fields that name files of the host.
var hostPaths = map[protoreflect.Name]bool{
	"host_path": true, "log_directory": true, "localhost_ref": true,
	"output_path": true, "checkpoint_path": true, "location": true, // of checkpoints
}

// fill puts what words stand for into a request, and host paths into the node's folder.
func (p *prey) fill(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				p.fill(v.List().Get(i).Message())
			}
		case f.IsList():
		case f.Message() != nil:
			p.fill(v.Message())
		case f.Kind() == protoreflect.StringKind:
			s := v.String()
			if word, ok := p.words[s]; ok {
				s = word
			}
			if hostPaths[f.Name()] && path.IsAbs(s) {
				s = filepath.Join(p.host, filepath.Clean(s))
			}
			m.Set(f, protoreflect.ValueOfString(s))
		}
		return true
	})
}

// call makes a call with the request, and reads what comes of a stream.
func (p *prey) call(ctx context.Context, m method, in proto.Message) error {
	if !m.stream {
		return p.conn.Invoke(ctx, m.full, in, m.out.New().Interface())
	}
	s, err := p.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.full)
	if err != nil {
		return err
	}
	if err := errors.Join(s.SendMsg(in), s.CloseSend()); err != nil {
		return err
	}
	for {
		if err := s.RecvMsg(m.out.New().Interface()); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// ourFault tells of an answer that no request should get: there is nothing wrong with
// this node.
func ourFault(err error) bool {
	switch status.Code(err) {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		return true
	}
	return false
}

// recorded are the files that the records may consist of. Names and ids of requests are
// never parts of a path.
var recorded = regexp.MustCompile(`^/[0-9a-f]{32}/(pod\.json|[0-9a-f]{32}\.container\.json|\.atomic-.*)$`)

// checkFiles looks for what a request made where it should not.
func (p *prey) checkFiles(t testing.TB) {
	t.Helper()
	for _, f := range tree(p.node.Records()) {
		if !recorded.MatchString(f) {
			t.Errorf("a file %q among the records", f)
		}
	}
	entries, err := os.ReadDir(p.node.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if n := e.Name(); n != "sandboxes" && n != "images" && n != "state" && n != "cri.sock" {
			t.Errorf("a file %q beside the daemon's", n)
		}
	}
}

// recordedRequests are those of a kubelet that were recorded.
func recordedRequests(t testing.TB) (out []struct {
	M   string
	Req json.RawMessage
}) {
	t.Helper()
	f, err := os.Open("../../cri/testdata/windows-kubelet/requests.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var r struct {
			M   string
			Req json.RawMessage
		}
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// FuzzRequest sends each request type to the daemon: what a kubelet sends, and what no
// client should, on things in each state and with deadlines that pass mid-way. It must
// answer, with an error that is not its own fault, and make no file but those it means to.
func FuzzRequest(f *testing.F) {
	all := methods()
	index := map[string]uint8{}
	add := func(name string, in proto.Message) {
		b, err := proto.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(index[name], uint8(0), b)
	}
	for i, m := range all {
		index[m.name()] = uint8(i)
		f.Add(uint8(i), uint8(0), []byte(nil))
		// Each thing where any thing may be named.
		for _, word := range []string{wordPod, wordStopped, wordNew, wordRunning, wordExited, wordImage, wordAbsent, "../../x", "a\nb"} {
			in := m.in.New()
			named := false
			for j := range in.Descriptor().Fields().Len() {
				fd := in.Descriptor().Fields().Get(j)
				if fd.Kind() == protoreflect.StringKind && fd.Cardinality() != protoreflect.Repeated {
					in.Set(fd, protoreflect.ValueOfString(word))
					named = true
				}
			}
			if named {
				add(m.name(), in.Interface())
			}
		}
	}
	for _, r := range recordedRequests(f) {
		i, ok := index[path.Base(r.M)]
		if !ok {
			f.Fatalf("a call %s was recorded, which there is not", r.M)
		}
		in := all[i].in.New().Interface()
		if err := protojson.Unmarshal(r.Req, in); err != nil {
			f.Fatal(err)
		}
		add(path.Base(r.M), in)
	}
	for _, in := range badRequests() {
		name := string(in.ProtoReflect().Descriptor().Name())
		add(strings.TrimSuffix(name, "Request"), in)
	}
	n := 0
	f.Fuzz(func(t *testing.T, which, ms uint8, b []byte) {
		m := all[int(which)%len(all)]
		in := m.in.New()
		if proto.Unmarshal(b, in.Interface()) != nil {
			return // no client can encode it
		}
		p := thePrey(t)
		if n%8 == 0 || p.words[wordPod] == "" {
			p.reset(t)
		}
		n++
		p.fill(in)
		limit := 500 * time.Millisecond
		if ms > 0 {
			limit = time.Duration(ms) * 100 * time.Microsecond
		}
		if m.name() == "GetContainerEvents" { // which lasts
			limit = min(limit, 20*time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		if err := p.call(ctx, m, in.Interface()); ourFault(err) {
			t.Errorf("%s: %v", m.name(), err)
		}
		p.checkFiles(t)
	})
}

// badRequests are those that are known to be hard.
func badRequests() []proto.Message {
	labels := map[string]string{}
	for i := range 10_000 {
		labels[strings.Repeat("k", 1+i%50)+string(rune('a'+i%26))+time.Duration(i).String()] = "v"
	}
	image := &runtimeapi.ImageSpec{Image: wordImage}
	create := func(c *runtimeapi.ContainerConfig) *runtimeapi.CreateContainerRequest {
		if c.Metadata == nil {
			c.Metadata = &runtimeapi.ContainerMetadata{Name: "bad"}
		}
		c.Image = image
		return &runtimeapi.CreateContainerRequest{PodSandboxId: wordPod, Config: c}
	}
	many := podConfig("many")
	many.Labels = labels
	forged := podConfig("a;K8S_POD_NAMESPACE=kube-system")
	lines := podConfig("a\nlevel=ERROR msg=forged")
	climbing := podConfig("climbing")
	climbing.LogDirectory = "/var/log/../../../etc"
	return []proto.Message{
		&runtimeapi.RunPodSandboxRequest{Config: many}, &runtimeapi.RunPodSandboxRequest{Config: forged},
		&runtimeapi.RunPodSandboxRequest{Config: lines}, &runtimeapi.RunPodSandboxRequest{Config: climbing},
		&runtimeapi.RunPodSandboxRequest{Config: podConfig("handler"), RuntimeHandler: "../x"},
		create(&runtimeapi.ContainerConfig{LogPath: "../../../etc/cron.d/x"}),
		create(&runtimeapi.ContainerConfig{LogPath: "/etc/cron.d/x"}),
		create(&runtimeapi.ContainerConfig{Labels: labels}),
		create(&runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "../../x"}}),
		create(&runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{{HostPath: "/new", ContainerPath: "/../../x"}}}),
		create(&runtimeapi.ContainerConfig{Mounts: []*runtimeapi.Mount{{HostPath: "relative", ContainerPath: "/x"}}}),
		create(&runtimeapi.ContainerConfig{Linux: &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: -1 << 63}}}),
		&runtimeapi.ExecSyncRequest{ContainerId: wordRunning, Cmd: []string{"hang"}},
		&runtimeapi.ExecSyncRequest{ContainerId: wordRunning, Cmd: []string{"yes"}, Timeout: 1},
		&runtimeapi.StopContainerRequest{ContainerId: wordRunning, Timeout: -1 << 63},
		&runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: labels}},
		&runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: "127.0.0.1:1/../../x@sha256:0"}},
	}
}
