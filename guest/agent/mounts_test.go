//go:build linux

package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/porthole-run/porthole/guest/api"
)

func (h *host) attachShare(ctx context.Context, id uint64) error {
	h.t.Helper()
	c := h.open(api.PortShare)
	if err := api.WriteShareHeader(c, id); err != nil {
		h.t.Fatal(err)
	}
	_, err := h.AttachShare(ctx, &api.AttachShareRequest{ShareId: id, RootType: 0o040000})
	return err
}

// mountingRequest has a mount of each kind.
func mountingRequest(id string) *api.CreateContainerRequest {
	r := containerRequest(id)
	r.Mounts = []*api.Mount{
		{ContainerPath: "/s", Source: &api.Mount_Share{Share: &api.ShareSource{ShareId: 7}}},
		{ContainerPath: "/d", Source: &api.Mount_Disk{Disk: &api.DiskSource{Address: &api.DiskAddress{Lun: 3}, VolumeId: "v"}}},
		{ContainerPath: "/i", ReadOnly: true, Source: &api.Mount_Image{Image: &api.ImageSource{
			Layers: []*api.DiskAddress{{Lun: 2}, {Lun: 4}}, LayerIds: []string{"b", "c"}, SubPath: "x"}}},
	}
	return r
}

func TestMounts_EveryStepFailsOnce(t *testing.T) {
	for n, failed := 1, true; failed; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			m := newMachine(t)
			h := newHost(t, m)
			hello(t, h)
			ctx := t.Context()
			if _, err := h.CreatePod(ctx, podRequest()); err != nil {
				t.Fatal(err)
			}
			before := m.String() + h.files()
			m.failAt = m.calls + n
			err := h.attachShare(ctx, 7)
			if err == nil {
				_, err = h.CreateContainer(ctx, mountingRequest("c"))
			}
			failed = err != nil
			m.failAt = 0
			if _, err := h.RemoveContainer(ctx, &api.RemoveContainerRequest{ContainerId: "c"}); err != nil {
				t.Errorf("RemoveContainer: %v", err)
			}
			if _, err := h.DetachShare(ctx, &api.DetachShareRequest{ShareId: 7}); err != nil {
				t.Errorf("DetachShare: %v", err)
			}
			if after := m.String() + h.files(); after != before {
				t.Errorf("%v left (-before +after):\n%s", err, cmp.Diff(before, after))
			}
		})
	}
}

// TestMounts_Shared: what two containers have is there until the second has gone.
func TestMounts_Shared(t *testing.T) {
	m := newMachine(t)
	h := newHost(t, m)
	hello(t, h)
	ctx := t.Context()
	if _, err := h.CreatePod(ctx, podRequest()); err != nil {
		t.Fatal(err)
	}
	if err := h.attachShare(ctx, 7); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"c", "d"} {
		if _, err := h.CreateContainer(ctx, mountingRequest(id)); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(m.String(), "mount "+filepath.Join(h.dir, "v")+"/"); n != 1 {
		t.Errorf("the volume is mounted %d times:\n%s", n, m)
	}
	if _, err := h.DetachShare(ctx, &api.DetachShareRequest{ShareId: 7}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("DetachShare in use = %v, want FailedPrecondition", err)
	}
	want := []string{"", "layers a,b,c volumes v"}
	for i, id := range []string{"c", "d"} {
		r, err := h.RemoveContainer(ctx, &api.RemoveContainerRequest{ContainerId: id})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(r.UnusedLayers)+len(r.UnusedVolumes) > 0 {
			slices.Sort(r.UnusedLayers)
			got = fmt.Sprintf("layers %s volumes %s", strings.Join(r.UnusedLayers, ","), strings.Join(r.UnusedVolumes, ","))
		}
		if got != want[i] {
			t.Errorf("unused after %s: %q, want %q", id, got, want[i])
		}
	}
	if _, err := h.DetachShare(ctx, &api.DetachShareRequest{ShareId: 7}); err != nil {
		t.Errorf("DetachShare = %v", err)
	}
}

func TestCheckMounts(t *testing.T) {
	disk := &api.Mount_Disk{Disk: &api.DiskSource{Address: &api.DiskAddress{}, VolumeId: "v"}}
	image := func(sub string) *api.Mount_Image {
		return &api.Mount_Image{Image: &api.ImageSource{Layers: []*api.DiskAddress{{}}, LayerIds: []string{"a"}, SubPath: sub}}
	}
	if err := checkMounts([]*api.Mount{{ContainerPath: "/a", Options: []string{"noexec"}, Source: disk}, {ContainerPath: "/b", Source: image("x/y")}}); err != nil {
		t.Errorf("checkMounts = %v", err)
	}
	for name, m := range map[string]*api.Mount{
		"nil": nil, "no_source": {ContainerPath: "/a"}, "relative": {ContainerPath: "a", Source: disk},
		"root": {ContainerPath: "/./", Source: disk}, "dots": {ContainerPath: "/a/../b", Source: disk},
		"nul": {ContainerPath: "/a\x00", Source: disk}, "option": {ContainerPath: "/a", Options: []string{"suid"}, Source: disk},
		"no_share":   {ContainerPath: "/a", Source: &api.Mount_Share{}},
		"no_volume":  {ContainerPath: "/a", Source: &api.Mount_Disk{Disk: &api.DiskSource{Address: &api.DiskAddress{}}}},
		"no_address": {ContainerPath: "/a", Source: &api.Mount_Disk{Disk: &api.DiskSource{VolumeId: "v"}}},
		"no_layers":  {ContainerPath: "/a", Source: &api.Mount_Image{}},
		"sub_path":   {ContainerPath: "/a", Source: image("x/../../y")}, "absolute_sub_path": {ContainerPath: "/a", Source: image("/x")},
	} {
		if err := checkMounts([]*api.Mount{m}); err == nil {
			t.Errorf("checkMounts(%s) succeeded", name)
		}
	}
	if err := checkMounts(make([]*api.Mount, maxMounts+1)); err == nil {
		t.Error("checkMounts of too many succeeded")
	}
}

func TestMountsOf(t *testing.T) {
	asked := func(at string) specs.Mount { return specs.Mount{Destination: at, Source: "asked"} }
	p := place{
		shm: "pod", files: map[string]string{"/etc/hosts": "pod", "/etc/hostname": "pod", "/etc/resolv.conf": "pod"},
		mounts: []specs.Mount{asked("/etc"), asked("/data"), asked("/etc/hosts"), asked("/dev/shm"), asked("/sys/fs/cgroup/x"), asked("/dev/termination-log")},
	}
	s := &specs.Spec{Root: &specs.Root{}, Mounts: []specs.Mount{
		{Destination: "/proc", Source: "base"}, {Destination: "/dev", Source: "base"}, {Destination: "/dev/shm", Type: "tmpfs", Source: "base"}, {Destination: "/dev/pts", Source: "base"}}}
	show := func(mounts []specs.Mount) string {
		var out []string
		for _, m := range mounts {
			out = append(out, m.Source+" "+m.Destination)
		}
		return strings.Join(out, "\n")
	}
	want := `base /proc
base /dev
base /dev/pts
asked /etc
asked /data
pod /etc/hostname
pod /etc/resolv.conf
asked /etc/hosts
asked /dev/shm
asked /dev/termination-log
asked /sys/fs/cgroup/x`
	if diff := cmp.Diff(want, show(mountsOf(s, p))); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	p.mounts, p.files = []specs.Mount{asked("/dev"), asked("/proc")}, nil
	if diff := cmp.Diff("asked /dev\nasked /proc\npod /dev/shm", show(mountsOf(s, p))); diff != "" {
		t.Errorf("mounts with /dev asked for (-want +got):\n%s", diff)
	}
}
