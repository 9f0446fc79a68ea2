package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestPodDetails: what a kubelet counts on beside the process: /dev/shm, sysctls, the
// termination log, the score for the kernel's choice of whom to kill, the stop signal.
func TestPodDetails(t *testing.T) {
	p := runPod(t, env.server, func(c *cri.PodSandboxConfig) {
		podNamespaces(&cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER})(c)
		c.Linux.Sysctls = map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.ip_local_port_range": "1024 2000"}
	})
	logs := t.TempDir()
	last := filepath.Join(logs, "termination")
	write(t, last, "")
	c := sh("details", "trap 'echo asked > /dev/termination-log; exit 3' USR2; while :; do sleep 0.1; done")
	if hostFolders() {
		c.Mounts = []*cri.Mount{bind("/dev/termination-log", last)}
	}
	c.StopSignal = cri.Signal_SIGNAL_SIGUSR2
	inNamespaces(c, &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}) // whose process 1 is the container's
	c.Linux.Resources = &cri.LinuxContainerResources{OomScoreAdj: 771, MemoryLimitInBytes: 32 << 20, MemorySwapLimitInBytes: 48 << 20}
	k := p.start(c)
	for what, want := range map[string]string{
		"df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2":          "65536",
		"cat /proc/sys/kernel/shm_rmid_forced":                          "1",
		"cat /proc/sys/net/ipv4/ip_local_port_range | tr -s '\\t ' ' '": "1024 2000",
		"cat /proc/1/oom_score_adj":                                     "771",
		"cat /sys/fs/cgroup/memory.swap.max":                            "16777216",
		"grep -c . /proc/swaps":                                         "1", // the guest has none: a heading alone
	} {
		if got := k.exec(what); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	// A new score with new limits is not the process's, and not shown as if it were.
	if _, err := p.s.UpdateContainerResources(testContext(t), &cri.UpdateContainerResourcesRequest{ContainerId: k.id,
		Linux: &cri.LinuxContainerResources{OomScoreAdj: 5, MemoryLimitInBytes: 40 << 20}}); err != nil {
		t.Fatal(err)
	}
	r := k.status().GetResources().GetLinux()
	if r.GetOomScoreAdj() != 771 || r.GetMemoryLimitInBytes() != 40<<20 || r.GetMemorySwapLimitInBytes() != 56<<20 {
		t.Errorf("status shows %v, want the score 771, 40 MiB, and 16 MiB of swap more", r)
	}
	if got := k.exec("cat /proc/1/oom_score_adj"); got != "771" {
		t.Errorf("score after an update: %s", got)
	}
	if got := k.status().GetStopSignal(); got != cri.Signal_SIGNAL_SIGUSR2 {
		t.Errorf("status shows the stop signal %v", got)
	}
	if _, err := p.s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: k.id, Timeout: 30}); err != nil {
		t.Fatal(err)
	}
	if got := k.status(); got.GetExitCode() != 3 {
		t.Errorf("exit code %d, want that of the signal's handler", got.GetExitCode())
	}
	t.Run("termination-log", func(t *testing.T) {
		if got := read(t, last); got != "asked\n" {
			t.Errorf("termination log %q", got)
		}
	})
}

// TestUpdatePodSandboxResources: sums that the VM can hold are taken and outlive the
// daemon's view of the pod; a VM does not grow.
func TestUpdatePodSandboxResources(t *testing.T) {
	p := runPod(t, env.server)
	vm := p.vmInfo().Shim
	update := func(r, overhead *cri.LinuxContainerResources) error {
		_, err := p.s.UpdatePodSandboxResources(testContext(t), &cri.UpdatePodSandboxResourcesRequest{PodSandboxId: p.id, Resources: r, Overhead: overhead})
		return err
	}
	if err := update(&cri.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuQuota: 50_000, CpuPeriod: 100_000}, nil); err != nil {
		t.Errorf("less than the VM: %v", err)
	}
	refused(t, update(&cri.LinuxContainerResources{MemoryLimitInBytes: int64(vm.MemoryMiB) << 20}, nil), "make the pod anew", codes.ResourceExhausted)
	refused(t, update(&cri.LinuxContainerResources{CpuQuota: int64(vm.VCPUs+1) * 100_000}, nil), "make the pod anew", codes.ResourceExhausted)
	refused(t, update(nil, &cri.LinuxContainerResources{MemoryLimitInBytes: -7}), "overhead", codes.InvalidArgument)
	r, err := p.s.PodSandboxStatus(testContext(t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil || !strings.Contains(r.GetInfo()["info"], `"memoryLimit":67108864`) {
		t.Errorf("verbose status: %v\n%s", err, r.GetInfo()["info"])
	}
}
