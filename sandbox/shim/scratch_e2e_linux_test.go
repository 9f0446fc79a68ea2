package shim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/porthole-run/porthole/internal/sparsefile"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
	"github.com/porthole-run/porthole/sandbox/template"
)

// uuidAt is where ext4 has the id of a file system, which is drawn when that is made.
const uuidAt = 1024 + 0x68

func uuid(t *testing.T, f *os.File) string {
	t.Helper()
	b := make([]byte, 16)
	if _, err := f.ReadAt(b, uuidAt); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", b)
}

// TestQEMU_TemplateScratch: pods of clones write to file systems that were mounted in the
// template. What they wrote is on their own disks, whose file systems are in order; the
// template's disk stays as it was; a disk of another size works as ever.
func TestQEMU_TemplateScratch(t *testing.T) {
	testneed.Root(t)
	testneed.File(t, qemuvm.DefaultBinary, "/dev/net/tun", "/bin/busybox", "/sbin/mkfs.ext4", "/sbin/e2fsck")
	const size = 64 << 20
	for _, made := range []string{"host", "guest"} {
		t.Run("made by "+made, func(t *testing.T) {
			kernel, initrd := drivertest.Bundle(t)
			l := newTestLauncher(t, testSettings{QEMU: t.TempDir()})
			l.config.Kernel, l.config.Initrd, l.config.StartTimeout = kernel, initrd, time.Minute
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			class := template.Class{VCPUs: 1, MemoryMiB: 256}
			k := template.New(template.Config{
				Classes: []template.Class{class}, Facts: t.Name(), ScratchBytes: size,
				Build: func(ctx context.Context, c template.Class, f template.Files) error {
					if made == "host" {
						mkfs(t, passedPath(f.Scratch))
					}
					return l.MakeTemplate(ctx, c, f)
				},
			})
			k.Start(ctx)
			defer k.Close()
			l.config.Templates = k
			lease := k.Await(ctx, template.Size{Class: class})
			for lease == nil && ctx.Err() == nil { // a busy machine takes longer than a pod waits
				time.Sleep(100 * time.Millisecond)
				lease = k.Await(ctx, template.Size{Class: class})
			}
			if lease == nil {
				t.Fatal(k.Status())
			}
			defer lease.Close()
			sum := packSum(t, lease.Scratch)
			if st, err := lease.Scratch.Stat(); err != nil || st.Size() != size {
				t.Fatalf("the template's disk is %v, %v", st, err)
			}

			layer := busyboxLayer(t, shortDir(t))
			disks := map[string]*os.File{}
			clients := map[string]sandbox.Shim{}
			for id, bytes := range map[string]int64{"a": size, "b": size, "other": size + 1<<20} {
				path := filepath.Join(shortDir(t), "scratch")
				f, err := os.Create(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if err := f.Truncate(bytes); err != nil {
					t.Fatal(err)
				}
				disks[id] = f
				s, err := l.Launch(ctx, sandbox.ShimConfig{ID: "vm-" + id, VCPUs: 1, MemoryMiB: 256})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Shutdown(context.WithoutCancel(ctx))
				clients[id] = s
				if info := s.(*Client).Info(); info.Template == "" {
					t.Fatalf("vm %s is no clone: %s", id, info.TemplateError)
				}
				if err := s.SetupPod(ctx, sandbox.PodSetup{PodID: id, Hostname: id, Scratch: sandbox.Disk{Path: path, Format: sandbox.DiskRaw}}); err != nil {
					t.Fatal(err)
				}
				if own := uuid(t, f) == uuid(t, lease.Scratch); own != (bytes == size) {
					t.Errorf("the disk of pod %s is the template's: %v", id, own)
				}
			}
			for id, s := range clients { // all at once
				writeMuch(ctx, t, s, id, layer)
			}
			for id, s := range clients {
				if exit, err := s.Wait(ctx, id+"-c"); err != nil || exit.Code != 0 {
					t.Errorf("container of pod %s: %+v, %v", id, exit, err)
				}
			}
			for id, s := range clients {
				flushed(ctx, t, s, id, layer)
				text, err := os.ReadFile(disks[id].Name())
				if err != nil {
					t.Fatal(err)
				}
				for _, other := range []string{"a", "b", "other"} {
					if has := bytes.Contains(text, []byte("only "+other+" wrote this")); has != (id == other) {
						t.Errorf("the disk of pod %s has what %s wrote: %v", id, other, has)
					}
				}
				if err := s.RemovePod(ctx, id); err != nil {
					t.Error(err)
				}
				if out, err := exec.Command("/sbin/e2fsck", "-f", "-n", disks[id].Name()).CombinedOutput(); err != nil {
					t.Errorf("file system of pod %s: %v\n%s", id, err, out)
				}
			}
			if packSum(t, lease.Scratch) != sum {
				t.Error("clones have changed the template's disk")
			}
		})
	}
}

func mkfs(t *testing.T, path string) {
	cmd := exec.Command("/sbin/mkfs.ext4", "-q", "-F", "-m", "0", "-I", "256", "-O", "^has_journal",
		"-E", "lazy_itable_init=1,nodiscard", "/proc/self/fd/3")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	cmd.ExtraFiles = []*os.File{f}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func packSum(t *testing.T, f *os.File) string {
	t.Helper()
	h := sha256.New()
	if err := sparsefile.Pack(t.Context(), h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// writeMuch starts a container that makes, changes and removes files, and leaves some.
func writeMuch(ctx context.Context, t *testing.T, s sandbox.Shim, pod, layer string) {
	t.Helper()
	startScript(ctx, t, s, pod, pod+"-c", layer, `set -e
		b=/bin/busybox
		$b mkdir -p /d/e; i=0
		while [ $i -lt 200 ]; do echo "only `+pod+` wrote this" > /d/e/$i; i=$((i+1)); done
		$b dd if=/dev/urandom of=/d/big bs=1M count=8 2>/dev/null; $b cp /d/big /d/copy; $b cmp /d/big /d/copy
		$b rm -r /d/big /d/e/1?; [ $($b ls /d/e | $b wc -l) = 190 ]; $b sync`)
}

// flushed has the guest write what it has to its disks: a container's own sync does not.
func flushed(ctx context.Context, t *testing.T, s sandbox.Shim, pod, layer string) {
	t.Helper()
	startScript(ctx, t, s, pod, pod+"-sync", layer, `/bin/busybox sync`)
	if exit, err := s.Wait(ctx, pod+"-sync"); err != nil || exit.Code != 0 {
		t.Errorf("sync in pod %s: %+v, %v", pod, exit, err)
	}
}

func startScript(ctx context.Context, t *testing.T, s sandbox.Shim, pod, id, layer, script string) {
	t.Helper()
	spec := busyboxSpec(t, "[ -e /dev/urandom ] || /bin/busybox mknod /dev/urandom c 1 9; [ -e /dev/null ] || /bin/busybox mknod /dev/null c 1 3; "+script)
	if _, err := s.CreateContainer(ctx, sandbox.ContainerSetup{
		PodID: pod, ContainerID: id, Spec: spec, LogPath: filepath.Join(shortDir(t), "log"),
		Layers: []sandbox.Layer{{DiffID: "sha256:busybox", Path: layer}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartContainer(ctx, id); err != nil {
		t.Fatal(err)
	}
}
