package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/vhd"
	"github.com/porthole-run/porthole/sandbox"
)

// fakeShares opens shares that answer what they are sent, and knows which are open.
type fakeShares struct {
	mu     sync.Mutex
	opened int
	open   int

	sources []ShareSource // of those that were opened
}

func (f *fakeShares) OpenShare(_ context.Context, s ShareSource) (Share, error) {
	if strings.HasSuffix(s.Path, "missing") {
		return nil, fmt.Errorf("no such folder: %w", errdefs.ErrFailedPrecondition)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened++
	f.open++
	f.sources = append(f.sources, s)
	return &fakeShare{f: f, source: s}, nil
}

func (f *fakeShares) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

type fakeShare struct {
	f      *fakeShares
	source ShareSource
}

func (s *fakeShare) ID() string   { return s.source.Path }
func (s *fakeShare) IsFile() bool { return strings.HasSuffix(s.source.Path, "file") }
func (s *fakeShare) ReadOnly() bool {
	return s.source.ReadOnly && !strings.HasSuffix(s.source.Path, "with-mounts")
}
func (s *fakeShare) Serve(_ context.Context, c io.ReadWriteCloser) error {
	defer c.Close()
	_, err := io.Copy(c, c)
	return err
}
func (s *fakeShare) Close() error {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.open--
	return nil
}

func folderMount(at, path string, readOnly bool) sandbox.MountSetup {
	return sandbox.MountSetup{ContainerPath: at, ReadOnly: readOnly, Folder: &sandbox.FolderSource{Path: path}}
}

// mountingRig has a pod, shares, and the path of a disk's file.
func mountingRig(t *testing.T) (r *rig, shares *fakeShares, diskPath string) {
	t.Helper()
	shares = &fakeShares{}
	r = newRigWith(t, func(c *ServerConfig) { c.OpenShare = shares.OpenShare })
	r.pod(t)
	diskPath = filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(diskPath, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	return r, shares, diskPath
}

func (r *rig) create(t *testing.T, id string, mounts ...sandbox.MountSetup) error {
	t.Helper()
	c := containerSetup(id, "sleep")
	c.Mounts = mounts
	_, err := r.CreateContainer(testContext(t), c)
	return err
}

func TestMounts_SharedByContainers(t *testing.T) {
	r, shares, disk := mountingRig(t)
	before := r.vm.String()
	image := sandbox.MountSetup{ContainerPath: "/i", Image: &sandbox.ImageSource{
		Layers: []sandbox.Layer{{DiffID: "sha256:b", Path: "/d/b"}, {DiffID: "sha256:c", Path: "/d/c"}}, SubPath: "x"}}
	volume := sandbox.MountSetup{ContainerPath: "/v", Disk: &sandbox.DiskSource{Path: disk}}
	for _, id := range []string{"c1", "c2"} {
		if err := r.create(t, id, folderMount("/a", "/h", false), folderMount("/b", "/h", false),
			folderMount("/c", "/h", true), folderMount("/m", "/with-mounts", true), folderMount("/f", "/file", false), volume, image); err != nil {
			t.Fatal(err)
		}
	}
	want := "running disks=[a b c disk.img scratch] nics=[eth0] pods=1 containers=2 execs=0 shares=4"
	if got := r.vm.String(); got != want {
		t.Errorf("with two containers:\n got %s\nwant %s", got, want)
	}
	var got []string
	r.vm.guest.mu.Lock()
	for _, m := range r.vm.guest.containers["c2"].mounts {
		got = append(got, fmt.Sprintf("%s ro=%v share=%v disk=%v image=%v", m.GetContainerPath(), m.GetReadOnly(),
			m.GetShare() != nil, m.GetDisk().GetFormatBlank(), m.GetImage().GetSubPath()))
	}
	r.vm.guest.mu.Unlock()
	text := strings.Join(got, "\n")
	wantText := `/a ro=false share=true disk=false image=
/b ro=false share=true disk=false image=
/c ro=true share=true disk=false image=
/m ro=false share=true disk=false image=
/f ro=false share=true disk=false image=
/v ro=false share=false disk=true image=
/i ro=true share=false disk=false image=x`
	if text != wantText {
		t.Errorf("mounts of c2:\n%s\nwant\n%s", text, wantText)
	}
	for i, id := range []string{"c1", "c2"} {
		if err := r.RemoveContainer(testContext(t), id); err != nil {
			t.Fatal(err)
		}
		if want := 4 * (1 - i); shares.count() != want {
			t.Errorf("%d shares are open after %s, want %d", shares.count(), id, want)
		}
	}
	if got := r.vm.String(); got != before {
		t.Errorf("left:\n got %s\nwant %s", got, before)
	}
}

func TestMounts_EachStepFails(t *testing.T) {
	for _, step := range []string{"attach share", "attach disk.img", "attach c", "create container"} {
		t.Run(step, func(t *testing.T) {
			r, shares, disk := mountingRig(t)
			before := r.vm.String()
			r.vm.setFail(step)
			mounts := []sandbox.MountSetup{
				folderMount("/a", "/h", false),
				{ContainerPath: "/v", Disk: &sandbox.DiskSource{Path: disk}},
				{ContainerPath: "/i", Image: &sandbox.ImageSource{Layers: []sandbox.Layer{{DiffID: "sha256:c", Path: "/d/c"}}}},
			}
			if err := r.create(t, "c1", mounts...); err == nil {
				t.Fatal("CreateContainer succeeded")
			}
			if got := r.vm.String(); got != before {
				t.Errorf("left:\n got %s\nwant %s", got, before)
			}
			if n := shares.count(); n != 0 {
				t.Errorf("%d shares are open", n)
			}
			r.vm.setFail("")
			if err := r.create(t, "c1", mounts...); err != nil {
				t.Errorf("CreateContainer again = %v", err)
			}
		})
	}
}

func TestMounts_MissingFolder(t *testing.T) {
	r, _, _ := mountingRig(t)
	if err := r.create(t, "c1", folderMount("/a", "/missing", false)); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "/missing") {
		t.Errorf("CreateContainer = %v, want FailedPrecondition that names /missing", err)
	}
}

func TestMounts_ShareEnds(t *testing.T) {
	r, _, _ := mountingRig(t)
	if err := r.create(t, "c1", folderMount("/a", "/h", false)); err != nil {
		t.Fatal(err)
	}
	r.vm.guest.mu.Lock()
	for _, c := range r.vm.guest.shares {
		c.Close()
	}
	r.vm.guest.mu.Unlock()
	<-r.ended
	if r.reason == nil || !strings.Contains(r.reason.Error(), "share of /h has ended") {
		t.Errorf("the VM ended since: %v, want the share of /h", r.reason)
	}
}

func TestVolumes_OneVMWrites(t *testing.T) {
	r, _, disk := mountingRig(t)
	other, _, _ := mountingRig(t)
	volume := sandbox.MountSetup{ContainerPath: "/v", Disk: &sandbox.DiskSource{Path: disk}}
	if err := r.create(t, "c1", volume); err != nil {
		t.Fatal(err)
	}
	reading := volume
	reading.ReadOnly = true
	for _, m := range []sandbox.MountSetup{volume, reading} {
		if err := other.create(t, "c1", m); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), disk) {
			t.Errorf("CreateContainer in another VM = %v, want FailedPrecondition that names the disk", err)
		}
	}
	if err := r.RemoveContainer(testContext(t), "c1"); err != nil {
		t.Fatal(err)
	}
	for _, rig := range []*rig{r, other} { // two may read
		if err := rig.create(t, "c1", reading); err != nil {
			t.Error(err)
		}
	}
}

// TestVolumes_Settled: a VM that is asked to end unmounts its volumes before.
func TestVolumes_Settled(t *testing.T) {
	r, _, disk := mountingRig(t)
	volume := sandbox.MountSetup{ContainerPath: "/v", Disk: &sandbox.DiskSource{Path: disk}}
	if err := r.create(t, "c1", volume); err != nil {
		t.Fatal(err)
	}
	if err := r.create(t, "c2"); err != nil {
		t.Fatal(err)
	}
	r.server.end()
	<-r.ended
	if r.reason != nil {
		t.Fatal(r.reason)
	}
	if got := r.vm.String(); strings.Contains(got, "disk.img") || !strings.Contains(got, "containers=1") {
		t.Errorf("at the end the VM had: %s", got)
	}
}

func TestVolumes_Scratch(t *testing.T) {
	r, _, _ := mountingRig(t)
	dir := t.TempDir()
	m := sandbox.MountSetup{ContainerPath: "/v", Disk: &sandbox.DiskSource{Path: dir, ScratchBytes: 64 << 20}}
	if err := r.create(t, "c1", m); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, scratchVolume))
	if err != nil || info.Size() != 64<<20 {
		t.Errorf("scratch disk: %v, %v", info, err)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	linked := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(linked, scratchVolume)); err != nil {
		t.Fatal(err)
	}
	m.Disk = &sandbox.DiskSource{Path: linked, ScratchBytes: 64 << 20}
	if err := r.create(t, "c2", m); err == nil {
		t.Error("a link was followed")
	}
	if _, err := os.Stat(outside); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file was made outside: %v", err)
	}
}

// TestOpenScratch_VHD: what Hyper-V is to attach is a VHD of the size asked for, in whole sectors, once.
func TestOpenScratch_VHD(t *testing.T) {
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, size := range []int64{3<<20 + 1, 64 << 20} { // a disk that is there keeps its size
		f, err := openScratch(dir, "a.vhd", size)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil || info.Size() != 3<<20+vhd.Sector+vhd.FooterSize {
			t.Errorf("scratch disk: %v, %v", info, err)
		}
		if format, err := diskFormat(f); err != nil || format != sandbox.DiskVHD {
			t.Errorf("diskFormat = %v, %v", format, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiskFormat(t *testing.T) {
	disk := func(kind byte) []byte {
		b := make([]byte, 4096+vhd.FooterSize)
		copy(b[4096:], "conectix")
		b[4096+63] = kind
		return b
	}
	for _, tt := range []struct {
		file    string
		content []byte
		want    sandbox.DiskFormat
		is      func(error) bool
	}{
		{"raw", make([]byte, 4096), sandbox.DiskRaw, nil},
		{"raw.img", disk(2), sandbox.DiskRaw, nil}, // whatever a guest wrote there
		{"raw.qcow2", append([]byte("vhdxfile"), make([]byte, 4096)...), sandbox.DiskRaw, nil},
		{"fixed.vhd", disk(2), sandbox.DiskVHD, nil},
		{"some.VHDX", make([]byte, 4096), sandbox.DiskVHDX, nil},
		{"dynamic.vhd", disk(3), sandbox.DiskVHD, errdefs.IsNotImplemented},
		{"raw.vhd", make([]byte, 4096), sandbox.DiskVHD, errdefs.IsInvalidArgument},
		{"tiny.vhd", make([]byte, 100), sandbox.DiskVHD, errdefs.IsInvalidArgument},
		{"empty.vhd", nil, sandbox.DiskVHD, errdefs.IsInvalidArgument},
	} {
		t.Run(tt.file, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), tt.file)
			if err := os.WriteFile(name, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			got, err := diskFormat(f)
			if got != tt.want || (tt.is == nil) != (err == nil) || tt.is != nil && !tt.is(err) {
				t.Errorf("diskFormat = %v, %v", got, err)
			}
		})
	}
}
