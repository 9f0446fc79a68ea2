package cri

import (
	"fmt"
	"path"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// maxDevices is more than a machine has of those that containers are given.
const maxDevices = 256

// devices converts the devices of a container. Which of them its guest has is not known here.
func devices(in []*runtimeapi.Device) ([]sandbox.Device, error) {
	if len(in) > maxDevices {
		return nil, invalid("config.devices", "has %d entries, at most %d are taken", len(in), maxDevices)
	}
	var out []sandbox.Device
	for i, d := range in {
		at := fmt.Sprintf("config.devices[%d]", i)
		for _, f := range [][2]string{{"host_path", d.GetHostPath()}, {"container_path", d.GetContainerPath()}} {
			if err := checkGuestPath(at+"."+f[0], f[1]); err != nil {
				return nil, err
			}
			if p := f[1]; p == "" || path.Clean(p) == "/" || slices.Contains(strings.Split(p, "/"), "..") {
				return nil, invalid(at+"."+f[0], "%q is not the path of a device", clean(p, maxPath))
			}
		}
		access := d.GetPermissions()
		if access == "" {
			access = "rwm"
		}
		if strings.Trim(access, "rwm") != "" {
			return nil, invalid(at+".permissions", "%q is not of r, w and m", clean(access, maxName))
		}
		out = append(out, sandbox.Device{
			HostPath: path.Clean(d.GetHostPath()), ContainerPath: path.Clean(d.GetContainerPath()), Permissions: access,
		})
	}
	return out, nil
}

// checkNoCDI refuses CDI devices by name, as other runtimes do those that no file of theirs
// describes: such files describe devices of the host.
func checkNoCDI(c *runtimeapi.ContainerConfig) error {
	var names []string
	for _, d := range c.GetCDIDevices() {
		names = append(names, clean(d.GetName(), maxName))
		if len(names) == maxNamed {
			break
		}
	}
	if len(names) == 0 {
		return nil
	}
	return invalid("config.CDI_devices", "unresolvable CDI devices %s: what they describe is of the host, and not in the VM", strings.Join(names, ", "))
}

// maxNamed is how many names an error lists.
const maxNamed = 16
