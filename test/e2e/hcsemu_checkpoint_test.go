package e2e

import (
	"testing"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/testneed"
)

// TestEmulatorCheckpoint: where Hyper-V saves no VM, as the emulator does not, CheckpointPod says so, leaves
// nothing, and the pod goes on.
func TestEmulatorCheckpoint(t *testing.T) {
	testneed.Within(t, env.windows != nil, "make test-hcsemu")
	p := runPod(t, env.server)
	k := p.start(sh("counter", countScript))
	eventually(t, "the counter counts", func() bool { return len(k.lines()) > 3 })
	dir := t.TempDir()
	_, err := p.s.CheckpointPod(testContext(t), &cri.CheckpointPodRequest{
		PodSandboxId: p.id, OutputPath: p.s.HostPath(dir), ContainerIds: []string{k.id},
	})
	wantCheckpointError(t, "a host that saves no VMs", dir, err, codes.Unimplemented, "save")
	n := len(k.lines())
	eventually(t, "the pod goes on", func() bool { return len(k.lines()) > n+3 })
	inARow(t, "pod of which nothing was saved", k.lines())
	if got := k.exec("echo here"); got != "here" {
		t.Errorf("exec afterwards: %q", got)
	}
}
