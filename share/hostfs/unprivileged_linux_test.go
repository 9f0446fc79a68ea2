package hostfs

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

const unprivilegedVar = "PORTHOLE_HOSTFS_UNPRIVILEGED"

// TestUnprivileged runs what a process without root's rights can do as such a process.
func TestUnprivileged(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	const nobody = 65534
	for _, d := range []string{dir, dir + "/.."} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	// By this name the program is found however its folder is guarded.
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestMapped|TestWithoutRights)$", "-test.v")
	cmd.Env = append(os.Environ(), unprivilegedVar+"=1", "TMPDIR="+dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestWithoutRights: the host's files are the server's own, whatever the guest sees.
func TestWithoutRights(t *testing.T) {
	testneed.Within(t, os.Getenv(unprivilegedVar) == "1", "TestUnprivileged")
	dir := t.TempDir()
	fs := open(t, dir, Options{})
	if !fs.mapped || fs.tree >= 0 {
		t.Fatal("served as by root")
	}
	n, f, a, err := fs.Root().Create("f", posix.O_RDWR|posix.O_EXCL, share.New{Mode: 0o4755, Owner: share.Owner{UID: 33, GID: 44}})
	if err != nil || a.UID != 33 || a.GID != 44 || a.Mode != posix.S_IFREG|0o4755 {
		t.Fatalf("Create: %+v, %v", a, err)
	}
	defer n.Release()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/f", &st); err != nil || st.Mode&posix.ModeMask != 0o600 || int(st.Uid) != os.Geteuid() {
		t.Errorf("on the host: %o of %d, %v", st.Mode, st.Uid, err)
	}
	if err := fs.Watch(fs.Root()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/g", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next(t, fs, func(e share.Event) bool { return e.Kind == share.EventCreate && e.Name == "g" })
}
