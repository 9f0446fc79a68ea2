package ocispec

import (
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

func TestDevices(t *testing.T) {
	c := testContainer()
	c.Devices = []sandbox.Device{
		{HostPath: "/dev/fuse", ContainerPath: "/dev/fuse", Permissions: "rw"},
		{HostPath: "/dev/net/tun", ContainerPath: "/dev/t", Permissions: "rwm"},
	}
	s, _, err := New("amd64").Spec(t.Context(), testPod(), c, testImage)
	if err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o666)
	if diff := cmp.Diff([]specs.LinuxDevice{
		{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229, FileMode: &mode},
		{Path: "/dev/t", Type: "c", Major: 10, Minor: 200, FileMode: &mode},
	}, s.Linux.Devices); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	rules := s.Linux.Resources.Devices
	if rules[0].Allow || rules[0].Access != "rwm" {
		t.Errorf("the first rule is %+v, want that all is denied", rules[0])
	}
	last := rules[len(rules)-2:]
	if *last[0].Major != 10 || *last[0].Minor != 229 || last[0].Access != "rw" || !last[0].Allow || *last[1].Minor != 200 {
		t.Errorf("the last rules are %+v", last)
	}
	without, _, err := New("amd64").Spec(t.Context(), testPod(), testContainer(), testImage)
	if err != nil || len(without.Linux.Devices) != 0 || len(without.Linux.Resources.Devices) != len(rules)-2 {
		t.Errorf("a container without devices has %v, %v", without.Linux.Devices, err)
	}
	c.Devices = []sandbox.Device{{HostPath: "/dev/fuse"}, {HostPath: "/dev/sda", ContainerPath: "/dev/sda"}}
	if _, _, err := New("amd64").Spec(t.Context(), testPod(), c, testImage); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), `devices[1].host_path: "/dev/sda"`) {
		t.Errorf("a device of the host = %v, want InvalidArgument that names it", err)
	}
}
