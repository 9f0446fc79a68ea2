package ocispec

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

// guestDevices are the devices that a guest may have and a container can be given: they
// are the kernel's, not the machine's, so that those of the guest do what is meant. The
// numbers are the kernel's for good (its admin-guide/devices.txt).
var guestDevices = map[string][2]int64{
	"/dev/fuse": {10, 229}, "/dev/net/tun": {10, 200}, "/dev/kvm": {10, 232},
	"/dev/null": {1, 3}, "/dev/zero": {1, 5}, "/dev/full": {1, 7}, "/dev/random": {1, 8}, "/dev/urandom": {1, 9},
}

// addDevices gives the container devices of the guest. Whether it has them the agent says.
func addDevices(l *specs.Linux, devices []sandbox.Device) error {
	for i, d := range devices {
		at := fmt.Sprintf("devices[%d]", i)
		number, ok := guestDevices[d.HostPath]
		if !ok {
			return invalid(at+".host_path", "%.200q is a device of the host, which is not in the VM; of its guest's a container can be given %s",
				d.HostPath, strings.Join(slices.Sorted(maps.Keys(guestDevices)), ", "))
		}
		mode := os.FileMode(0o666) // whether it can be opened the device cgroup says
		l.Devices = append(l.Devices, specs.LinuxDevice{Path: d.ContainerPath, Type: "c", Major: number[0], Minor: number[1], FileMode: &mode})
		l.Resources.Devices = append(l.Resources.Devices, specs.LinuxDeviceCgroup{
			Allow: true, Type: "c", Major: &number[0], Minor: &number[1], Access: d.Permissions,
		})
	}
	return nil
}
