package hostfs

import (
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/backendtest"
)

var hidden = []string{overrideName, overrideTrusted, "security.selinux"}

func TestNative(t *testing.T) {
	testneed.Root(t)
	backendtest.Run(t, func(t *testing.T) share.Backend {
		return open(t, t.TempDir(), Options{})
	}, backendtest.Options{Hidden: hidden})
}

// TestFewDescriptors: the same when nodes lose their descriptors all the time.
func TestFewDescriptors(t *testing.T) {
	testneed.Root(t)
	backendtest.Run(t, func(t *testing.T) share.Backend {
		return open(t, t.TempDir(), Options{Pool: NewPool(3)})
	}, backendtest.Options{Hidden: hidden})
}

func TestLiveMounts(t *testing.T) {
	testneed.Root(t)
	backendtest.Run(t, func(t *testing.T) share.Backend {
		return open(t, t.TempDir(), Options{HostToContainer: true})
	}, backendtest.Options{Hidden: hidden})
}

// TestTmpfs: a folder in memory, as emptyDir has with medium Memory.
func TestTmpfs(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) share.Backend {
		return open(t, mountTmpfs(t, "size=64m"), Options{})
	}, backendtest.Options{Hidden: hidden, Lacks: map[backendtest.Feature]string{
		backendtest.ZeroRange: "tmpfs has none",
	}})
}

func TestMapped(t *testing.T) {
	lacks := map[backendtest.Feature]string{
		backendtest.SpecialXattr: "what stands for them is a regular file of the server's user",
	}
	if !rootRights() {
		lacks[backendtest.TrustedXattr] = "only root has them"
		lacks[backendtest.SecurityXattr] = "only root has them"
	}
	backendtest.Run(t, func(t *testing.T) share.Backend {
		return open(t, t.TempDir(), Options{Ownership: Mapped})
	}, backendtest.Options{Hidden: hidden, Lacks: lacks})
}
