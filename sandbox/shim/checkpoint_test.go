package shim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// SaveTo implements sandbox.Saver.
func (v *fakeVM) SaveTo(ctx context.Context, path string, still func(context.Context) error) (s sandbox.SavedVM, err error) {
	if err := v.step("save"); err != nil {
		return s, err
	}
	v.guest.mu.Lock()
	frozen := v.guest.frozen
	v.guest.mu.Unlock()
	if !frozen {
		return s, errors.New("the containers run")
	}
	if err := os.WriteFile(path, []byte("memory"), 0o600); err != nil {
		return s, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	v.mu.Lock()
	for lun, name := range v.disks {
		s.Disks = append(s.Disks, sandbox.SavedDisk{
			Address: sandbox.DiskAddress{LUN: lun}, Disk: sandbox.Disk{Path: filepath.Join(v.files, name)},
		})
	}
	v.mu.Unlock()
	if err := still(ctx); err != nil {
		return s, err
	}
	return s, v.step("go on")
}

// SaveFacts implements sandbox.Restorer.
func (v *fakeVM) SaveFacts(context.Context) (string, error) { return "fake", nil }

// Restore implements sandbox.Restorer.
func (v *fakeVM) Restore(ctx context.Context, c sandbox.VMConfig, s sandbox.SavedVM, path string) (sandbox.VM, error) {
	if err := v.step("restore vm"); err != nil {
		return nil, err
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "memory" {
		return nil, fmt.Errorf("state %q: %w", b, err)
	}
	for _, d := range s.Disks {
		v.disks[d.Address.LUN] = filepath.Base(d.Disk.Path)
	}
	return v.Create(ctx, c)
}

// diskFiles makes the disks of a test's pod and layers.
func diskFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"scratch", "a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("disk "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ckptRig is a pod whose disks are files.
type ckptRig struct {
	*rig
	files, dir string
}

func setupAt(files string) sandbox.PodSetup {
	p := podSetup()
	p.Scratch.Path = filepath.Join(files, "scratch")
	return p
}

func containerAt(files, id string, args ...string) sandbox.ContainerSetup {
	c := containerSetup(id, args...)
	for i := range c.Layers {
		c.Layers[i].Path = filepath.Join(files, filepath.Base(c.Layers[i].Path))
	}
	return c
}

func newCkptRig(t *testing.T) ckptRig {
	t.Helper()
	r := ckptRig{newRig(t), diskFiles(t), t.TempDir()}
	r.vm.files = r.files
	ctx := testContext(t)
	if err := r.SetupPod(ctx, setupAt(r.files)); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"c1", "c2"} {
		c := containerAt(r.files, id, "sleep")
		c.Stdin = id == "c1"
		r.start(t, c)
	}
	r.start(t, containerAt(r.files, "gone", "exit", "3"))
	if _, err := r.Wait(ctx, "gone"); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r ckptRig) checkpoint(ctx context.Context) (sandbox.SavedPod, error) {
	return r.Checkpoint(ctx, sandbox.CheckpointSetup{PodID: "pod1", ContainerIDs: []string{"c1", "c2"}, Dir: r.dir})
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func (v *fakeVM) frozen() bool {
	v.guest.mu.Lock()
	defer v.guest.mu.Unlock()
	return v.guest.frozen
}

func TestCheckpoint_EachStepFails(t *testing.T) {
	for _, step := range []string{"freeze", "save", "go on"} {
		t.Run(strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			r := newCkptRig(t)
			ctx := testContext(t)
			r.vm.setFail(step)
			if _, err := r.checkpoint(ctx); !errdefs.IsInternal(err) || !strings.Contains(err.Error(), step) {
				t.Errorf("Checkpoint() = %v", err)
			}
			if left := names(t, r.dir); left != nil {
				t.Errorf("left %v", left)
			}
			if r.vm.frozen() {
				t.Error("the pod is frozen")
			}
			if x, err := r.Wait(ctx, "gone"); err != nil || x.Code != 3 {
				t.Errorf("exit of what was taken out of the guest = %+v, %v", x, err)
			}
			r.vm.setFail("")
			if _, err := r.checkpoint(ctx); err != nil {
				t.Errorf("Checkpoint() afterwards = %v", err)
			}
		})
	}
	t.Run("disk", func(t *testing.T) {
		r := newCkptRig(t)
		if err := os.Remove(filepath.Join(r.files, "scratch")); err != nil {
			t.Fatal(err)
		}
		if _, err := r.checkpoint(testContext(t)); err == nil {
			t.Error("Checkpoint() without a disk succeeded")
		}
		if left := names(t, r.dir); left != nil || r.vm.frozen() {
			t.Errorf("left %v", left)
		}
	})
	t.Run("time", func(t *testing.T) {
		r := newCkptRig(t)
		ctx, cancel := context.WithTimeout(testContext(t), time.Nanosecond)
		defer cancel()
		if _, err := r.checkpoint(ctx); err == nil {
			t.Error("Checkpoint() without time succeeded")
		}
		if left := names(t, r.dir); left != nil || r.vm.frozen() {
			t.Errorf("left %v", left)
		}
	})
}

// TestCheckpoint_StaysFrozen: a pod that cannot be thawed must not look as if it ran.
func TestCheckpoint_StaysFrozen(t *testing.T) {
	r := newCkptRig(t)
	r.vm.setFail("thaw")
	if _, err := r.checkpoint(testContext(t)); err == nil {
		t.Error("Checkpoint() = nil")
	}
	select {
	case <-r.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the VM goes on")
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "let the containers go on") {
		t.Errorf("Err() = %v", err)
	}
}

func TestCheckpoint_Refused(t *testing.T) {
	r := newCkptRig(t)
	ctx := testContext(t)
	for _, tc := range []struct {
		ids []string
		is  func(error) bool
	}{
		{[]string{"c1"}, errdefs.IsFailedPrecondition},
		{[]string{"c1", "c2", "gone"}, errdefs.IsFailedPrecondition},
		{[]string{"c1", "c2", "never"}, errdefs.IsNotFound},
	} {
		_, err := r.Checkpoint(ctx, sandbox.CheckpointSetup{PodID: "pod1", ContainerIDs: tc.ids, Dir: r.dir})
		if !tc.is(err) {
			t.Errorf("Checkpoint(%v) = %v", tc.ids, err)
		}
	}
	if _, err := r.CreateContainer(ctx, containerAt(r.files, "c3", "sleep")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.checkpoint(ctx); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "c3") {
		t.Errorf("Checkpoint() with a created container = %v", err)
	}
	if err := r.RestorePod(ctx, sandbox.PodRestore{}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("RestorePod() of a VM that booted = %v", err)
	}
	if left := names(t, r.dir); left != nil || slices.Contains(r.vm.steps, "freeze") {
		t.Errorf("left %v after %v", left, r.vm.steps)
	}
}

// TestCheckpoint_Shared: a pod whose VM others may be in is not saved.
func TestCheckpoint_Shared(t *testing.T) {
	r := newRigWith(t, func(c *ServerConfig) { c.VM.NICs = 2 })
	r.pod(t)
	r.start(t, containerSetup("c1", "sleep"))
	dir := t.TempDir()
	_, err := r.Checkpoint(testContext(t), sandbox.CheckpointSetup{PodID: "pod1", ContainerIDs: []string{"c1"}, Dir: dir})
	if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "share") {
		t.Errorf("Checkpoint() = %v, want FailedPrecondition", err)
	}
	if left := names(t, dir); left != nil || r.vm.frozen() {
		t.Errorf("left %v", left)
	}
}

// restoreRig launches a shim of what was saved.
func restoreRig(t *testing.T, r ckptRig, saved sandbox.SavedPod) *rig {
	t.Helper()
	return newRigWith(t, func(c *ServerConfig) {
		c.Restore = &sandbox.ShimRestore{State: filepath.Join(r.dir, sandbox.StateFile), Saved: saved}
	})
}

func podRestore(files, log string) sandbox.PodRestore {
	setup := setupAt(files)
	setup.PodID = "pod2"
	p := sandbox.PodRestore{Setup: setup}
	for _, id := range []string{"c1", "c2"} {
		p.Containers = append(p.Containers, sandbox.ContainerRestore{
			ID: "new-" + id, SavedID: id, LogPath: filepath.Join(log, id), Layers: containerAt(files, id).Layers,
		})
	}
	return p
}

func TestRestorePod(t *testing.T) {
	r := newCkptRig(t)
	ctx := testContext(t)
	saved, err := r.checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(saved.Containers) != 2 || len(saved.Layers) != 2 || saved.PodID != "pod1" || saved.LastID == 0 {
		t.Errorf("saved %+v", saved)
	}
	again := restoreRig(t, r, saved)
	logs := t.TempDir()
	if err := again.RestorePod(ctx, podRestore(r.files, logs)); err != nil {
		t.Fatal(err)
	}
	if err := again.RestorePod(ctx, podRestore(r.files, logs)); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("RestorePod() again = %v", err)
	}
	if got := again.vm.String(); !strings.Contains(got, "nics=[eth0] pods=1 containers=2") {
		t.Errorf("restored VM: %s", got)
	}
	again.vm.guest.mu.Lock()
	if p := again.vm.guest.containers["c1"]; p == nil {
		t.Errorf("the guest does not know the container by its own id")
	}
	again.vm.guest.mu.Unlock()
	st, err := again.State(ctx)
	if err != nil || len(st.Containers) != 2 || st.Containers[0].Started {
		t.Errorf("State() = %+v, %v", st, err)
	}
	if _, err := again.StartContainer(ctx, "new-c1"); err != nil {
		t.Fatal(err)
	}
	if x, err := again.Wait(ctx, "new-c1"); err != nil || x.Code != 0 {
		t.Errorf("Wait() = %+v, %v", x, err)
	}
	if b, err := os.ReadFile(filepath.Join(logs, "c1")); err != nil || !bytes.Contains(b, []byte("goes on")) {
		t.Errorf("log = %q, %v", b, err)
	}
	// It is a pod like others, and can be saved too.
	other := t.TempDir()
	again.vm.files = r.files
	if _, err := again.StartContainer(ctx, "new-c2"); err != nil {
		t.Fatal(err)
	}
	if err := again.RemovePod(ctx, "pod2"); err != nil {
		t.Fatal(err)
	}
	if got, want := again.vm.String(), "running disks=[] nics=[] pods=0 containers=0 execs=0"; got != want {
		t.Errorf("removed pod: %s, want %s", got, want)
	}
	if left := names(t, other); left != nil {
		t.Errorf("left %v", left)
	}
}

func TestRestorePod_EachStepFails(t *testing.T) {
	r := newCkptRig(t)
	ctx := testContext(t)
	saved, err := r.checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"attach nic", "renew"} {
		t.Run(strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			again := restoreRig(t, r, saved)
			again.vm.setFail(step)
			if err := again.RestorePod(ctx, podRestore(r.files, t.TempDir())); !errdefs.IsInternal(err) {
				t.Errorf("RestorePod() = %v", err)
			}
			again.server.end() // as Shutdown does
			<-again.ended
			if again.reason != nil {
				t.Errorf("the shim ended with %v", again.reason)
			}
		})
	}
	start := func(change func(*sandbox.SavedPod), vm *fakeVM) error {
		s := saved
		s.Layers, s.VM.Disks = slices.Clone(saved.Layers), slices.Clone(saved.VM.Disks)
		change(&s)
		c := serverConfig(vm, shortDir(t))
		c.Restore = &sandbox.ShimRestore{State: filepath.Join(r.dir, sandbox.StateFile), Saved: s}
		srv, err := Start(ctx, c)
		if err == nil {
			_ = srv.stopVM(ctx)
			srv.Close()
		}
		return err
	}
	vm := newFakeVM()
	vm.fail = "restore vm"
	if err := start(func(*sandbox.SavedPod) {}, vm); !errdefs.IsInternal(err) || vm.state != "none" {
		t.Errorf("Start() = %v with a VM that is %s", err, vm.state)
	}
	vm = newFakeVM()
	if err := start(func(s *sandbox.SavedPod) { s.Layers[0].SHA256 = "other" }, vm); !errdefs.IsFailedPrecondition(err) || vm.state != "none" {
		t.Errorf("Start() with another layer = %v", err)
	}
	vm = newFakeVM()
	if err := start(func(s *sandbox.SavedPod) { s.VM.Disks = nil }, vm); !errdefs.IsInvalidArgument(err) {
		t.Errorf("Start() without disks = %v", err)
	}
	vm = newFakeVM()
	vm.guest.old = true // an agent that cannot be told of randomness
	if err := start(func(*sandbox.SavedPod) {}, vm); !errdefs.IsFailedPrecondition(err) || vm.state != "ended" {
		t.Errorf("Start() of a guest that is not seeded = %v with a VM that is %s", err, vm.state)
	}
}
