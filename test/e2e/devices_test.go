package e2e

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestDevices: devices of the guest's kernel are given; those of the host, and such as the
// guest has not, are refused by name.
func TestDevices(t *testing.T) {
	p := runPod(t, env.server)
	c := sh("dev", "exec sleep 600")
	c.Devices = []*cri.Device{
		{ContainerPath: "/dev/fuse", HostPath: "/dev/fuse", Permissions: "rw"},
		{ContainerPath: "/dev/net/tun", HostPath: "/dev/net/tun", Permissions: "rwm"},
	}
	k := p.start(c)
	if got := k.exec("stat -c '%F %t:%T' /dev/fuse /dev/net/tun"); got != "character special file a:e5\ncharacter special file a:c8" {
		t.Errorf("devices:\n%s", got)
	}
	k.exec("exec 3<>/dev/fuse; exec 4<>/dev/net/tun") // not only nodes: their drivers answer
	without := p.start(sh("without", "exec sleep 600"))
	if got := without.exec("mknod /tmp/fuse c 10 229; (exec 3<>/tmp/fuse) 2>&1; true"); !strings.Contains(got, "not permitted") && !strings.Contains(got, "denied") {
		t.Errorf("a container that was not given /dev/fuse opens it: %q", got)
	}
	for name, bad := range map[string]struct {
		dev  *cri.Device
		says string
	}{
		"host": {&cri.Device{ContainerPath: "/dev/sda", HostPath: "/dev/sda", Permissions: "r"}, "/dev/sda"},
		"none": {&cri.Device{ContainerPath: "/dev/kvm", HostPath: "/dev/kvm", Permissions: "rw"}, "/dev/kvm"},
	} {
		c := sh(name, "true")
		c.Devices = []*cri.Device{bad.dev}
		_, err := p.tryCreate(c)
		refused(t, err, bad.says, codes.InvalidArgument)
	}
	cdi := sh("cdi", "true")
	cdi.CDIDevices = []*cri.CDIDevice{{Name: "vendor.test/gpu=all"}}
	_, err := p.tryCreate(cdi)
	refused(t, err, "vendor.test/gpu=all", codes.InvalidArgument)
}

// TestHugePages: limits are the guest's, which has the pages as they are wanted; sizes that
// it does not have are refused, but for the zeros that kubelets send of each size of theirs.
func TestHugePages(t *testing.T) {
	p := runPod(t, env.server)
	limits := func(name string, h ...*cri.HugepageLimit) *cri.ContainerConfig {
		c := sh(name, "exec sleep 600")
		c.Linux.Resources = &cri.LinuxContainerResources{HugepageLimits: h}
		return c
	}
	k := p.start(limits("two", &cri.HugepageLimit{PageSize: "2MB", Limit: 4 << 20}, &cri.HugepageLimit{PageSize: "64GB"}))
	if got := k.exec("cat /sys/fs/cgroup/hugetlb.2MB.max; cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages"); got != "4194304\n2" {
		t.Errorf("limit and pages: %q", got)
	}
	if _, err := p.s.UpdateContainerResources(testContext(t), &cri.UpdateContainerResourcesRequest{ContainerId: k.id,
		Linux: &cri.LinuxContainerResources{HugepageLimits: []*cri.HugepageLimit{{PageSize: "2MB", Limit: 2 << 20}, {PageSize: "64GB"}}}}); err != nil {
		t.Errorf("UpdateContainerResources: %v", err)
	}
	if got := k.exec("cat /sys/fs/cgroup/hugetlb.2MB.max"); got != "2097152" {
		t.Errorf("limit after an update: %q", got)
	}
	_, err := p.tryCreate(limits("none", &cri.HugepageLimit{PageSize: "64GB", Limit: 64 << 30}))
	refused(t, err, "64GB", codes.InvalidArgument)
}
