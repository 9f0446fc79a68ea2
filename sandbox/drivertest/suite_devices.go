package drivertest

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// makeDisk makes a disk of size bytes that begins with head.
func makeDisk(t testing.TB, format sandbox.DiskFormat, size int64, head string) sandbox.Disk {
	t.Helper()
	name := map[sandbox.DiskFormat]string{sandbox.DiskVHD: "disk.vhd", sandbox.DiskRaw: "disk"}[format]
	d := sandbox.Disk{Path: filepath.Join(t.TempDir(), name), Format: format}
	f, err := os.Create(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(head); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if format == sandbox.DiskVHD {
		// As much of a fixed VHD's footer as tells it from others; no geometry.
		footer := make([]byte, 512)
		copy(footer, "conectix")
		binary.BigEndian.PutUint32(footer[60:], 2)
		if _, err := f.WriteAt(footer, size); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// writable is the format of disks to write on.
func (e Env) writable() sandbox.DiskFormat {
	if e.NoRaw {
		return sandbox.DiskVHD
	}
	return sandbox.DiskRaw
}

func testDisks(t *testing.T, vm sandbox.VM, e Env) {
	const size = 3 << 20
	vhd := makeDisk(t, sandbox.DiskVHD, size, "a read-only disk")
	vhd.ReadOnly = true
	raw := makeDisk(t, e.writable(), 2*size, "a writable disk!")

	first := attach(t, vm, vhd)
	second := attach(t, vm, raw)
	if first == second {
		t.Fatalf("two disks at %+v", first)
	}
	for _, tc := range []struct {
		name string
		at   sandbox.DiskAddress
		want wire.DiskAnswer
	}{
		{"vhd", first, wire.DiskAnswer{Size: size, ReadOnly: true, Head: []byte("a read-only disk")}},
		{"raw", second, wire.DiskAnswer{Size: 2 * size, Head: []byte("a writable disk!")}},
	} {
		a := ask[wire.DiskAnswer](t, vm, wire.Disk, wire.DiskRequest{LUN: tc.at.LUN})
		if a.Error != "" || a.Size != tc.want.Size || a.ReadOnly != tc.want.ReadOnly || !bytes.Equal(a.Head, tc.want.Head) {
			t.Errorf("%s in the guest: %+v, want %+v", tc.name, a, tc.want)
		}
	}
	if a := ask[wire.DiskAnswer](t, vm, wire.Disk, wire.DiskRequest{LUN: first.LUN, Write: []byte("no")}); a.Error == "" {
		t.Error("guest could write to a read-only disk")
	}
	a := ask[wire.DiskAnswer](t, vm, wire.Disk, wire.DiskRequest{LUN: second.LUN, Write: []byte("guest")})
	if a.Error != "" || !strings.HasPrefix(string(a.Head), "guest") {
		t.Errorf("write to a writable disk: %+v", a)
	}

	detach(t, vm, first)
	if a := ask[wire.DiskAnswer](t, vm, wire.Disk, wire.DiskRequest{LUN: first.LUN, Gone: true}); a.Error != "" {
		t.Errorf("detached disk in the guest: %s", a.Error)
	}
	detach(t, vm, first) // again: not an error
	again := attach(t, vm, vhd)
	if a := ask[wire.DiskAnswer](t, vm, wire.Disk, wire.DiskRequest{LUN: again.LUN}); a.Error != "" || a.Size != size {
		t.Errorf("disk attached again: %+v", a)
	}
	detach(t, vm, again)
	detach(t, vm, second)
	b, err := os.ReadFile(raw.Path)
	if err != nil || !strings.HasPrefix(string(b), "guest") {
		t.Errorf("host reads %q, %v after the guest wrote and the disk was detached", b[:min(8, len(b))], err)
	}
	detach(t, vm, sandbox.DiskAddress{Controller: 3, LUN: 9})
}

func attach(t *testing.T, vm sandbox.VM, d sandbox.Disk) sandbox.DiskAddress {
	t.Helper()
	a, err := vm.AttachDisk(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func detach(t *testing.T, vm sandbox.VM, a sandbox.DiskAddress) {
	t.Helper()
	if err := vm.DetachDisk(t.Context(), a); err != nil {
		t.Error(err)
	}
}

func testBadDisks(t *testing.T, vm sandbox.VM, e Env) {
	gone := sandbox.Disk{Path: filepath.Join(t.TempDir(), "gone")}
	if _, err := vm.AttachDisk(t.Context(), gone); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), gone.Path) {
		t.Errorf("AttachDisk() of a file that is not there = %v, want NotFound with its path", err)
	}
	good := attach(t, vm, makeDisk(t, e.writable(), 1<<20, "fine"))
	detach(t, vm, good)
}

func testNIC(t *testing.T, vm sandbox.VM, e Env) {
	if err := vm.DetachNIC(t.Context(), "eth0"); err != nil {
		t.Errorf("DetachNIC() of what is not attached = %v", err)
	}
	if e.NIC == nil {
		return
	}
	n, address, carry := e.NIC(t)
	bad := n
	bad.Interface = "nosuch0"
	if carry != nil {
		if _, err := vm.AttachNIC(t.Context(), bad); !errdefs.IsNotFound(err) {
			t.Errorf("AttachNIC() to an interface that is not there = %v, want NotFound", err)
		}
	}
	for range 2 { // attach, use, detach, and all again
		info, err := vm.AttachNIC(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := vm.AttachNIC(t.Context(), n); !errdefs.IsAlreadyExists(err) {
			t.Errorf("second AttachNIC() = %v, want AlreadyExists", err)
		}
		a := ask[wire.LinkAnswer](t, vm, wire.Link, wire.LinkRequest{Up: true, Address: address})
		if a.Error != "" || a.MAC != info.MAC {
			t.Errorf("NIC in the guest: %+v, want MAC %s", a, info.MAC)
		}
		if carry != nil {
			carry(t)
		}
		if err := vm.DetachNIC(t.Context(), n.Name); err != nil {
			t.Fatal(err)
		}
		if a := ask[wire.LinkAnswer](t, vm, wire.Link, wire.LinkRequest{Up: false}); a.Error != "" {
			t.Errorf("detached NIC in the guest: %s", a.Error)
		}
	}
}
