package hostfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/backendtest"
	"github.com/porthole-run/porthole/share/posix"
)

var tmpfsLacks = map[backendtest.Feature]string{backendtest.ZeroRange: "tmpfs has none"}

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
		return open(t, mountTmpfs(t, "size=64m"), Options{Pool: NewPool(8)})
	}, backendtest.Options{Hidden: hidden, Lacks: tmpfsLacks})
}

// TestUmask: the process's umask matters to nothing.
func TestUmask(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	was := unix.Umask(0o777)
	defer unix.Umask(was)
	for _, how := range []Ownership{Native, Mapped} {
		fs := open(t, dir, Options{Ownership: how})
		for _, typ := range []uint32{posix.S_IFREG, posix.S_IFIFO, posix.S_IFCHR} {
			n, a, err := fs.Root().Mknod(fmt.Sprint(how, typ), share.New{Mode: typ | 0o666})
			if err != nil || a.Mode != typ|0o666 {
				t.Fatalf("mode %o, %v, want %o", a.Mode, err, typ|0o666)
			}
			n.Release()
		}
		n := mkdir(t, fs.Root(), fmt.Sprint(how))
		if a, err := n.Attr(); err != nil || a.Mode != posix.S_IFDIR|0o755 {
			t.Errorf("mode %o, %v", a.Mode, err)
		}
		n.Release()
		fi, err := os.Stat(filepath.Join(dir, fmt.Sprint(how)))
		if want := map[Ownership]os.FileMode{Native: 0o755, Mapped: 0o700}[how]; err != nil || fi.Mode().Perm() != want {
			t.Errorf("on the host: %v, %v, want %o", fi, err, want)
		}
	}
}

func TestLiveMounts(t *testing.T) {
	testneed.Root(t)
	backendtest.Run(t, func(t *testing.T) share.Backend {
		return open(t, mountTmpfs(t, "size=64m"), Options{HostToContainer: true})
	}, backendtest.Options{Hidden: hidden, Lacks: tmpfsLacks})
}

// TestTmpfs: a folder in memory, as emptyDir has with medium Memory.
func TestTmpfs(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) share.Backend {
		return open(t, mountTmpfs(t, "size=64m"), Options{})
	}, backendtest.Options{Hidden: hidden, Lacks: tmpfsLacks})
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
