package cri

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cri/dialect"
	"github.com/porthole-run/porthole/sandbox"
)

func TestTakeGroup(t *testing.T) {
	with := func(group string) *runtimeapi.PodSandboxConfig {
		return &runtimeapi.PodSandboxConfig{Annotations: map[string]string{"a": "b", dialect.FSGroup: group}}
	}
	asked := &runtimeapi.PodSandboxConfig{Annotations: map[string]string{"a": "b"}}
	var c sandbox.PodConfig
	if err := takeGroup(&c, with("2000"), asked); err != nil || c.FSGroup != 2000 {
		t.Errorf("group %d, %v", c.FSGroup, err)
	}
	if diff := cmp.Diff(asked.Annotations, c.Annotations); diff != "" {
		t.Errorf("annotations (-asked +kept):\n%s", diff)
	}
	// A Linux kubelet has changed the volumes itself; what users write is theirs.
	mine := with("7")
	c = sandbox.PodConfig{Annotations: mine.Annotations}
	if err := takeGroup(&c, mine, mine); err != nil || c.FSGroup != 0 || len(c.Annotations) != 2 {
		t.Errorf("of a Linux kubelet: %+v, %v", c, err)
	}
	for _, bad := range []string{"-1", "4294967295", "4294967296", "staff"} {
		if err := takeGroup(&c, with(bad), asked); !errdefs.IsInvalidArgument(err) {
			t.Errorf("group %q = %v, want InvalidArgument", bad, err)
		}
	}
}
