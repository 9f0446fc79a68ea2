package qemuvm

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/internal/memfile"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

const scratchBytes = 8 << 20

// scratchTemplate makes a template with a disk that begins with a few words.
func (r *rig) scratchTemplate(t testing.TB, d *Driver, words string) sandbox.Template {
	t.Helper()
	f, err := memfile.New("scratch", scratchBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt([]byte(words), 0); err != nil {
		t.Fatal(err)
	}
	out := r.templateWith(t, d, f)
	if err := memfile.Seal(f); err != nil {
		t.Fatal(err)
	}
	return out
}

// ofBytes makes a disk of a size that holds a word.
func ofBytes(t testing.TB, size int64, word string) sandbox.Disk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, []byte(word), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return sandbox.Disk{Path: path, Format: sandbox.DiskRaw}
}

func startClone(t *testing.T, r *rig, d *Driver, id string, from sandbox.Template) *VM {
	t.Helper()
	v, err := d.Clone(t.Context(), r.config(id), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopVM(t, v) })
	if err := v.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v.(*VM)
}

// onDisk has the guest look at a disk, and write to it if there is something to write.
func onDisk(t *testing.T, v sandbox.VM, lun uint32, write string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), undoTimeout*6)
	defer cancel()
	c, err := v.Dial(ctx, wire.Disk)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var a wire.DiskAnswer
	if err := json.NewEncoder(c).Encode(wire.DiskRequest{LUN: lun, Write: []byte(write)}); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(c).Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Error != "" || a.Size != scratchBytes {
		t.Errorf("disk %d in the guest: %+v", lun, a)
	}
	return strings.TrimRight(string(a.Head), "\x00")
}

func head(t *testing.T, d sandbox.Disk, n int) string {
	t.Helper()
	b, err := os.ReadFile(d.Path)
	if err != nil || len(b) != scratchBytes {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	return string(bytes.TrimRight(b[:n], "\x00"))
}

// TestClone_Scratch: each clone has a disk of its own with the template's content, once.
func TestClone_Scratch(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	from := r.scratchTemplate(t, d, "template's")
	content, before := digest(t, from.Scratch), r.left(t)
	a, b := startClone(t, r, d, "clone-a", from), startClone(t, r, d, "clone-b", from)

	readOnly := ofBytes(t, scratchBytes, "x")
	readOnly.ReadOnly = true
	for name, disk := range map[string]sandbox.Disk{"larger": ofBytes(t, scratchBytes+sector, "x"), "read-only": readOnly} {
		if _, err := a.TakeScratch(t.Context(), disk); !errdefs.IsNotFound(err) {
			t.Errorf("TakeScratch() of one that is %s = %v, want NotFound", name, err)
		}
		if got, err := os.ReadFile(disk.Path); err != nil || got[0] != 'x' {
			t.Errorf("the disk that is %s was changed: %v", name, err)
		}
	}
	if err := a.DetachDisk(t.Context(), sandbox.DiskAddress{LUN: scratchLUN}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("DetachDisk() of one that waits = %v, want FailedPrecondition", err)
	}
	disks := map[*VM]sandbox.Disk{a: ofBytes(t, scratchBytes, "what it held"), b: ofBytes(t, scratchBytes, "")}
	for v, disk := range disks {
		addr, err := v.TakeScratch(t.Context(), disk)
		if err != nil || addr != (sandbox.DiskAddress{LUN: scratchLUN}) {
			t.Fatalf("TakeScratch() = %v, %v", addr, err)
		}
		if got := head(t, disk, 20); got != "template's" {
			t.Errorf("the disk holds %q", got)
		}
		if _, err := v.TakeScratch(t.Context(), ofBytes(t, scratchBytes, "")); !errdefs.IsNotFound(err) {
			t.Errorf("TakeScratch() again = %v, want NotFound", err)
		}
	}
	onDisk(t, a, scratchLUN, "written by a")
	onDisk(t, b, scratchLUN, "and by b")
	if got := onDisk(t, a, scratchLUN, ""); !strings.HasPrefix(got, "written by a") {
		t.Errorf("clone a reads %q", got)
	}
	other, err := a.AttachDisk(t.Context(), ofBytes(t, scratchBytes, "another"))
	if err != nil || other.LUN == scratchLUN {
		t.Errorf("AttachDisk() = %v, %v", other, err)
	}
	for v, disk := range disks {
		if err := v.DetachDisk(t.Context(), sandbox.DiskAddress{LUN: scratchLUN}); err != nil {
			t.Error(err)
		}
		want := map[*VM]string{a: "written by a", b: "and by b"}[v]
		if got := head(t, disk, len(want)); got != want {
			t.Errorf("a clone's disk holds %q, want %q", got, want)
		}
		stopVM(t, v)
	}
	r.wantLeft(t, before)
	if digest(t, from.Scratch) != content {
		t.Error("clones have changed the template's disk")
	}
}

// TestClone_ScratchCannotBeTaken: what QEMU refuses is an error, after which the disk can be
// attached as others are and the VM be saved.
func TestClone_ScratchCannotBeTaken(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	v := startClone(t, r, d, "clone", r.scratchTemplate(t, d, "template's"))
	client, err := v.client()
	if err != nil {
		t.Fatal(err)
	}
	// Its name is taken.
	if _, err := client.Run(t.Context(), "blockdev-add", map[string]any{
		"driver": "null-co", "node-name": namesOf(scratchLUN).file, "size": scratchBytes,
	}); err != nil {
		t.Fatal(err)
	}
	disk := ofBytes(t, scratchBytes, "")
	if _, err := v.TakeScratch(t.Context(), disk); err == nil || errdefs.IsNotFound(err) {
		t.Errorf("TakeScratch() = %v, want what QEMU says", err)
	}
	addr, err := v.AttachDisk(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	if got := onDisk(t, v, addr.LUN, ""); !strings.HasPrefix(got, "template's") {
		t.Errorf("the disk holds %q", got)
	}
	saveAndRestore(t, r, d, v, scratchBytes)
}

// TestClone_ScratchSaved: a VM is saved and restored whether or not its disk was taken.
func TestClone_ScratchSaved(t *testing.T) {
	r := newRig(t)
	d := r.driver(t, nil)
	from := r.scratchTemplate(t, d, "template's")
	waits := startClone(t, r, d, "waits", from)
	echo(t, waits, "up")
	saveAndRestore(t, r, d, waits, scratchBytes)

	took := startClone(t, r, d, "took", from)
	if _, err := took.TakeScratch(t.Context(), ofBytes(t, scratchBytes, "")); err != nil {
		t.Fatal(err)
	}
	onDisk(t, took, scratchLUN, "before")
	again := saveAndRestore(t, r, d, took, 0)
	if got := onDisk(t, again, scratchLUN, "after"); !strings.HasPrefix(got, "after") {
		t.Errorf("the restored VM reads %q", got)
	}
}

// saveAndRestore saves a VM, ends it, and makes another of it; waits is the size of the disk
// that nobody has taken.
func saveAndRestore(t *testing.T, r *rig, d *Driver, v *VM, waits int64) sandbox.VM {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	saved, err := v.SaveTo(t.Context(), state, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	var detail savedDetail
	if err := json.Unmarshal(saved.Detail, &detail); err != nil || detail.Scratch != waits {
		t.Errorf("saved with detail %s, want a disk of %d bytes that waits", saved.Detail, waits)
	}
	stopVM(t, v)
	again, err := d.Restore(t.Context(), r.config("restored-"+v.config.ID), saved, state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopVM(t, again) })
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	echo(t, again, "up again")
	if _, err := again.(*VM).TakeScratch(t.Context(), ofBytes(t, scratchBytes, "")); !errdefs.IsNotFound(err) {
		t.Errorf("TakeScratch() of a restored VM = %v, want NotFound", err)
	}
	return again
}

// TestSave_TwoDisks: clones would have one of them.
func TestSave_TwoDisks(t *testing.T) {
	var d disks
	for range 2 {
		if _, _, err := d.reserve(sandbox.Disk{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.checkTemplate(); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("checkTemplate() = %v, want FailedPrecondition", err)
	}
}
