package cri

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cri/dialect"
	"github.com/porthole-run/porthole/sandbox"
)

// damage calls f for the message with each field that is set damaged in each way, one at
// a time; where names the field, as in "config.mounts[2].host_path=nul".
func damage(m proto.Message, f func(where string, bad proto.Message)) {
	var walk func(at string, get func(root protoreflect.Message) protoreflect.Message)
	root := m.ProtoReflect()
	try := func(where string, get func(protoreflect.Message) protoreflect.Message, change func(protoreflect.Message)) {
		bad := proto.CloneOf(m)
		change(get(bad.ProtoReflect()))
		f(where, bad)
	}
	walk = func(at string, get func(protoreflect.Message) protoreflect.Message) {
		get(root).Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			name := at + string(fd.Name())
			try(name+"=gone", get, func(m protoreflect.Message) { m.Clear(fd) })
			switch {
			case fd.IsMap():
				for what, kv := range map[string][2]string{"empty_key": {"", "x"}, "nul": {"a\x00b", "a\x00b"}, "long": {strings.Repeat("k", 1<<20), "v"}} {
					try(name+"="+what, get, func(m protoreflect.Message) {
						m.Mutable(fd).Map().Set(protoreflect.ValueOfString(kv[0]).MapKey(), protoreflect.ValueOfString(kv[1]))
					})
				}
			case fd.IsList():
				try(name+"=empty_item", get, func(m protoreflect.Message) {
					l := m.Mutable(fd).List()
					l.Append(l.NewElement())
				})
				try(name+"=many", get, func(m protoreflect.Message) {
					l := m.Mutable(fd).List()
					for range 70000 {
						l.Append(l.Get(0))
					}
				})
				for i := range v.List().Len() {
					if fd.Kind() == protoreflect.MessageKind {
						walk(fmt.Sprintf("%s[%d].", name, i), func(r protoreflect.Message) protoreflect.Message { return get(r).Mutable(fd).List().Get(i).Message() })
						continue
					}
					for what, bad := range badValues(fd, v.List().Get(i)) {
						try(fmt.Sprintf("%s[%d]=%s", name, i, what), get, func(m protoreflect.Message) { m.Mutable(fd).List().Set(i, bad) })
					}
				}
			case fd.Kind() == protoreflect.MessageKind:
				try(name+"=empty", get, func(m protoreflect.Message) { m.Set(fd, m.NewField(fd)) })
				walk(name+".", func(r protoreflect.Message) protoreflect.Message { return get(r).Mutable(fd).Message() })
			default:
				for what, bad := range badValues(fd, v) {
					try(name+"="+what, get, func(m protoreflect.Message) { m.Set(fd, bad) })
				}
			}
			return true
		})
	}
	walk("", func(r protoreflect.Message) protoreflect.Message { return r })
}

func badValues(fd protoreflect.FieldDescriptor, v protoreflect.Value) map[string]protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		out := map[string]protoreflect.Value{}
		for what, s := range map[string]string{
			"nul": v.String() + "\x00", "not_utf8": v.String() + "\xff", "long": v.String() + strings.Repeat("x", 1<<16),
			"dots": v.String() + `\..\..\..\x`, "slash_dots": v.String() + "/../../x", "unc": `\\server\share\` + v.String(), "pipe": `\\.\pipe\x`,
			"device": `\\?\Volume{1}\` + v.String(), "drive": "c:", "drive_relative": "c:x", "other_drive": `q:\x`, "stream": v.String() + ":x",
			"newline": v.String() + "\n", "backslash": `\`, "word": "x", "root": "/",
		} {
			out[what] = protoreflect.ValueOfString(s)
		}
		return out
	case protoreflect.BytesKind:
		return map[string]protoreflect.Value{"nul": protoreflect.ValueOfBytes([]byte{0}), "not_utf8": protoreflect.ValueOfBytes([]byte{0xff})}
	case protoreflect.BoolKind:
		return map[string]protoreflect.Value{"flipped": protoreflect.ValueOfBool(!v.Bool())}
	case protoreflect.Int64Kind:
		out := map[string]protoreflect.Value{}
		for what, n := range map[string]int64{"minus_one": -1, "least": math.MinInt64, "most": math.MaxInt64, "one": 1} {
			out[what] = protoreflect.ValueOfInt64(n)
		}
		return out
	case protoreflect.Int32Kind:
		return map[string]protoreflect.Value{"minus_one": protoreflect.ValueOfInt32(-1), "most": protoreflect.ValueOfInt32(math.MaxInt32)}
	case protoreflect.Uint32Kind:
		return map[string]protoreflect.Value{"most": protoreflect.ValueOfUint32(math.MaxUint32)}
	case protoreflect.EnumKind:
		return map[string]protoreflect.Value{"unknown": protoreflect.ValueOfEnum(99), "minus_one": protoreflect.ValueOfEnum(-1)}
	}
	panic("no bad values for " + fd.FullName())
}

// clearly tells whether an error says that the request, or what it names, is at fault.
func clearly(err error) bool {
	switch codeOf(err) {
	case codes.InvalidArgument, codes.Unimplemented, codes.FailedPrecondition, codes.NotFound, codes.DataLoss:
		return true
	}
	return false
}

// TestWindowsKubelet_Damaged damages each field of each recorded request in turn: there
// is a clear error, or a pod or container that has no more rights than its author gave it.
func TestWindowsKubelet_Damaged(t *testing.T) {
	calls := recording(t)
	pods := podsOf(t, calls)
	tried, refused := 0, 0
	for i, c := range calls {
		method := path.Base(c.Method)
		if method != "RunPodSandbox" && method != "CreateContainer" {
			continue
		}
		want := replayed(t, calls, pods, i)
		damage(request(t, c.Method, c.Req), func(where string, bad proto.Message) {
			tried++
			f := newFakeNode()
			s := windowsServer(t, f, pods, nil)
			s.opts.Logger = slog.New(slog.DiscardHandler)
			switch r := bad.(type) {
			case *runtimeapi.RunPodSandboxRequest:
				resp, err := s.RunPodSandbox(t.Context(), r)
				if err != nil {
					refused++
					if !clearly(err) {
						t.Errorf("%s %s = %v", method, where, err)
					}
					return
				}
				got := f.pods[resp.GetPodSandboxId()].Config
				if got.Privileged && !want.pod.Privileged || got.Namespaces.Network != sandbox.NamespacePod {
					t.Errorf("%s %s: the pod is privileged %v in the network of the %s", method, where, got.Privileged, got.Namespaces.Network)
				}
				if dir := got.LogDirectory; dir != "" && !path.IsAbs(dir) || strings.Contains(dir, "..") {
					t.Errorf("%s %s: log directory %q", method, where, dir)
				}
			case *runtimeapi.CreateContainerRequest:
				id := r.PodSandboxId
				if id == want.asked {
					id = "pod1"
				}
				f.pods["pod1"] = sandbox.Pod{ID: "pod1", Config: want.pod}
				r.PodSandboxId = id
				resp, err := s.CreateContainer(t.Context(), r)
				if err != nil {
					refused++
					if !clearly(err) {
						t.Errorf("%s %s = %v", method, where, err)
					}
					return
				}
				got := f.containers[resp.GetContainerId()].Config
				if diff := cmp.Diff(want.container.Security, got.Security); diff != "" && !strings.Contains(where, "run_as_username") && !strings.Contains(where, "windows=") && !strings.Contains(where, "security_context=") {
					t.Errorf("%s %s: security (-want +got):\n%s", method, where, diff)
				}
				if got.Resources.CPUQuota != want.container.Resources.CPUQuota || got.Resources.MemoryLimit != want.container.Resources.MemoryLimit {
					t.Errorf("%s %s: resources %+v, want %+v", method, where, got.Resources, want.container.Resources)
				}
				for _, m := range got.Mounts {
					if !path.IsAbs(m.ContainerPath) || m.Image == nil && !strings.HasPrefix(m.HostPath, "/c") || strings.Contains(m.HostPath+m.ContainerPath, "..") && !strings.Contains(where, "dots") {
						t.Errorf("%s %s: mount %+v", method, where, m)
					}
				}
			}
		})
	}
	t.Logf("%d damaged requests, %d refused", tried, refused)
	if tried < 500 || refused < 100 {
		t.Errorf("%d damaged requests, of which %d were refused: the walk is broken", tried, refused)
	}
}

// undamaged is what a recorded request becomes as it is.
type undamaged struct {
	pod       sandbox.PodConfig
	container sandbox.ContainerConfig
	asked     string // the recorded id of its pod
}

func replayed(t *testing.T, calls []recordedCall, pods recordedPods, upTo int) undamaged {
	t.Helper()
	f := newFakeNode()
	s := windowsServer(t, f, pods, nil)
	s.opts.Logger = slog.New(slog.DiscardHandler)
	var out undamaged
	replay(t, s, calls[:upTo+1], func(c recordedCall, resp any, err error) {
		switch r := resp.(type) {
		case *runtimeapi.RunPodSandboxResponse:
			out.pod = f.pods[r.GetPodSandboxId()].Config
		case *runtimeapi.CreateContainerResponse:
			made := f.containers[r.GetContainerId()]
			out.container, out.pod = made.Config, f.pods[made.PodID].Config
			out.asked = request(t, c.Method, c.Req).(*runtimeapi.CreateContainerRequest).GetPodSandboxId()
		}
	})
	return out
}

// FuzzWindowsRequests is FuzzRequests over the two calls that the dialect turns.
func FuzzWindowsRequests(f *testing.F) {
	calls := recording(f)
	pods := podsOf(f, calls)
	for _, c := range calls {
		if m := path.Base(c.Method); m == "RunPodSandbox" || m == "CreateContainer" {
			b, err := proto.Marshal(request(f, c.Method, c.Req))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(m == "CreateContainer", false, b)
			f.Add(m == "CreateContainer", true, b)
		}
	}
	f.Fuzz(func(t *testing.T, create, drop bool, b []byte) {
		node := newFakeNode()
		s := windowsServer(t, node, pods, func(c *dialect.Config) { c.DropSecurityContext = drop })
		if !create {
			r := &runtimeapi.RunPodSandboxRequest{}
			if proto.Unmarshal(b, r) != nil {
				return
			}
			if _, err := s.RunPodSandbox(context.Background(), r); err != nil && !clearly(err) {
				t.Errorf("RunPodSandbox = %v", err)
			}
			return
		}
		r := &runtimeapi.CreateContainerRequest{}
		if proto.Unmarshal(b, r) != nil {
			return
		}
		for uid := range pods {
			r.PodSandboxId = "pod1"
			node.pods["pod1"] = sandbox.Pod{ID: "pod1", Config: sandbox.PodConfig{UID: uid, LogDirectory: "/c/log", Privileged: true}}
			if _, err := s.CreateContainer(context.Background(), r); err != nil && !clearly(err) {
				t.Errorf("CreateContainer = %v", err)
			}
		}
	})
}
