//go:build linux

package agent

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/account"
)

// usersRequest asks for a user namespace whose root is this process's user, who alone may
// be given files.
func usersRequest() *api.CreatePodRequest {
	r := podRequest()
	r.Hosts = "127.0.0.1 localhost\n"
	ids := func(id int) *api.IDMapping { return &api.IDMapping{HostId: uint32(id), Length: 65536} }
	r.Namespaces = &api.PodNamespaces{Users: &api.UserNamespace{Uids: ids(os.Getuid()), Gids: ids(os.Getgid())}}
	return r
}

// fullRequest has a volume and an image whose owners are mapped, a device, and huge pages
// of a size that the guest has and of one that it has not.
func fullRequest() *api.CreateContainerRequest {
	r := containerRequest("c")
	r.Spec = []byte(`{"process":{"args":["sh"],"cwd":"/w"},"linux":{"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}],
		"resources":{"hugepageLimits":[{"pageSize":"2MB","limit":4194304},{"pageSize":"1GB","limit":0}]}}}`)
	r.Mounts = []*api.Mount{
		{ContainerPath: "/disk", MapIds: true, Source: &api.Mount_Disk{Disk: &api.DiskSource{Address: &api.DiskAddress{Lun: 7}, VolumeId: "v"}}},
		{ContainerPath: "/image", MapIds: true, ReadOnly: true, Source: &api.Mount_Image{Image: &api.ImageSource{
			Layers: []*api.DiskAddress{{Lun: 8}, {Lun: 9}}, LayerIds: []string{"c", "d"}, SubPath: "x"}}},
	}
	return r
}

func TestAgent_EveryStepFailsOnce_Users(t *testing.T) {
	everyStepFails(t, usersRequest, fullRequest)
}

func TestAgent_MappedMounts(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), usersRequest()); err != nil {
		t.Fatal(err)
	}
	before := m.String()
	if _, err := h.CreateContainer(t.Context(), fullRequest()); err != nil {
		t.Fatal(err)
	}
	// Two layers, two of the image, and the disk.
	if got := strings.Count(m.String(), "/i/"); got != 4 {
		t.Errorf("%d mapped folders of layers, want 4:\n%s", got, m)
	}
	if _, err := h.RemoveContainer(t.Context(), &api.RemoveContainerRequest{ContainerId: "c"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, m.String()); diff != "" {
		t.Errorf("left of the container (-want +got):\n%s", diff)
	}
}

func TestAgent_RefusesHardware(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	if _, err := h.CreatePod(t.Context(), podRequest()); err != nil {
		t.Fatal(err)
	}
	before := m.String()
	for names, linux := range map[string]string{
		"/dev/kvm": `{"devices":[{"path":"/dev/kvm","type":"c","major":10,"minor":232}]}`,
		"1GB":      `{"resources":{"hugepageLimits":[{"pageSize":"1GB","limit":1}]}}`,
	} {
		r := containerRequest("c")
		r.Spec = fmt.Appendf(nil, `{"process":{"args":["sh"],"cwd":"/"},"linux":%s}`, linux)
		_, err := h.CreateContainer(t.Context(), r)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), names) {
			t.Errorf("CreateContainer = %v, want InvalidArgument that names %s", err, names)
		}
		if diff := cmp.Diff(before, m.String()); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
	}
}

func TestPodNamespaces(t *testing.T) {
	one := &api.IDMapping{Length: 1}
	for name, n := range map[string]*api.PodNamespaces{
		"both":   {VmNetwork: true, Users: &api.UserNamespace{Uids: one, Gids: one}},
		"none":   {Users: &api.UserNamespace{}},
		"root":   {Users: &api.UserNamespace{Uids: &api.IDMapping{ContainerId: 1, Length: 1}, Gids: one}},
		"beyond": {Users: &api.UserNamespace{Uids: one, Gids: &api.IDMapping{HostId: 1<<32 - 2, Length: 2}}},
	} {
		if _, err := podNamespaces(n); err == nil {
			t.Errorf("%s: podNamespaces(%v) succeeds", name, n)
		}
	}
	if o, err := podNamespaces(nil); err != nil || o != (podns.Options{}) {
		t.Errorf("podNamespaces(nil) = %+v, %v", o, err)
	}
}

func TestPIDTarget(t *testing.T) {
	h := newHost(t, newMachine(t))
	hello(t, h)
	other := podRequest()
	other.PodId, other.Scratch = "q", &api.DiskAddress{Lun: 5}
	for _, p := range []*api.CreatePodRequest{podRequest(), other} {
		if _, err := h.CreatePod(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.CreateContainer(t.Context(), containerRequest("target")); err != nil {
		t.Fatal(err)
	}
	in := func(pod, target string) error {
		r := containerRequest("debug")
		r.PodId, r.PidNamespace, r.PidTarget = pod, api.PIDNamespace_PID_NAMESPACE_TARGET, target
		_, err := h.CreateContainer(t.Context(), r)
		return err
	}
	for name, tt := range map[string]struct {
		pod, target string
		code        codes.Code
	}{"none": {"p", "", codes.InvalidArgument}, "unknown": {"p", "x", codes.NotFound}, "other": {"q", "target", codes.InvalidArgument}} {
		if err := in(tt.pod, tt.target); status.Code(err) != tt.code {
			t.Errorf("%s: CreateContainer = %v, want %v", name, err, tt.code)
		}
	}
	if err := in("p", "target"); err != nil {
		t.Errorf("CreateContainer in the namespace of one that is made = %v", err)
	}
}

func TestCheckMapped(t *testing.T) {
	users := &podns.Users{UIDs: podns.Mapping{Outside: 70000, Length: 1000}, GIDs: podns.Mapping{Outside: 70000, Length: 10}}
	for name, tt := range map[string]struct {
		id account.Identity
		ok bool
	}{
		"root": {account.Identity{}, true}, "last": {account.Identity{UID: 999, GID: 9, Groups: []uint32{0}}, true},
		"user": {account.Identity{UID: 1000}, false}, "group": {account.Identity{GID: 10}, false}, "groups": {account.Identity{Groups: []uint32{1, 10}}, false},
	} {
		if err := checkMapped(users, tt.id); (err == nil) != tt.ok {
			t.Errorf("%s: checkMapped = %v", name, err)
		}
		if err := checkMapped(nil, tt.id); err != nil {
			t.Errorf("%s: without a user namespace: %v", name, err)
		}
	}
}

func TestJoinUsers(t *testing.T) {
	l := &specs.Linux{}
	joinUsers(l, 42, nil)
	if len(l.Namespaces) > 0 || len(l.UIDMappings) > 0 {
		t.Errorf("without a user namespace: %+v", l)
	}
	joinUsers(l, 42, &podns.Users{UIDs: podns.Mapping{Outside: 7, Length: 8}, GIDs: podns.Mapping{Outside: 9, Length: 10}})
	want := &specs.Linux{
		Namespaces:  []specs.LinuxNamespace{{Type: specs.UserNamespace, Path: "/proc/42/ns/user"}},
		UIDMappings: []specs.LinuxIDMapping{{HostID: 7, Size: 8}}, GIDMappings: []specs.LinuxIDMapping{{HostID: 9, Size: 10}},
	}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
