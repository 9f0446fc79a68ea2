package qemuvm

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
)

// vhd is a VHD of this type with so many bytes of data.
func vhd(kind uint32, data int) []byte {
	b := make([]byte, data+vhdFooter)
	copy(b[data:], vhdCookie)
	binary.BigEndian.PutUint32(b[data+vhdTypeAt:], kind)
	return b
}

func TestPrepareDisk(t *testing.T) {
	for _, tc := range []struct {
		name   string
		format sandbox.DiskFormat
		body   []byte
		size   int64
		is     func(error) bool
	}{
		{"vhd", sandbox.DiskVHD, vhd(vhdTypeFixed, 4096), 4096, nil},
		{"raw", sandbox.DiskRaw, make([]byte, 4096), 4096, nil},
		{"raw_of_a_vhd", sandbox.DiskRaw, vhd(vhdTypeFixed, 4096), 4096 + 512, nil},
		{"vhd_dynamic", sandbox.DiskVHD, vhd(3, 4096), 0, errdefs.IsInvalidArgument},
		{"vhd_no_footer", sandbox.DiskVHD, make([]byte, 4096), 0, errdefs.IsInvalidArgument},
		{"vhd_no_data", sandbox.DiskVHD, vhd(vhdTypeFixed, 0), 0, errdefs.IsInvalidArgument},
		{"vhd_short", sandbox.DiskVHD, make([]byte, 100), 0, errdefs.IsInvalidArgument},
		{"raw_odd", sandbox.DiskRaw, make([]byte, 1000), 0, errdefs.IsInvalidArgument},
		{"raw_empty", sandbox.DiskRaw, nil, 0, errdefs.IsInvalidArgument},
		{"vhdx", sandbox.DiskVHDX, make([]byte, 4096), 0, errdefs.IsNotImplemented},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, tc.body, 0o600); err != nil {
				t.Fatal(err)
			}
			f, size, err := prepareDisk(sandbox.Disk{Path: path, Format: tc.format, ReadOnly: true})
			if tc.is != nil {
				if !tc.is(err) {
					t.Errorf("prepareDisk() = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if size != tc.size {
				t.Errorf("size = %d, want %d", size, tc.size)
			}
			if _, err := f.Write([]byte("x")); err == nil {
				t.Error("descriptor of a read-only disk can be written to")
			}
		})
	}
	for name, tc := range map[string]struct {
		path string
		is   func(error) bool
	}{
		"gone":   {filepath.Join(t.TempDir(), "gone"), errdefs.IsNotFound},
		"folder": {t.TempDir(), errdefs.IsInvalidArgument},
	} {
		if _, _, err := prepareDisk(sandbox.Disk{Path: tc.path, ReadOnly: true}); !tc.is(err) {
			t.Errorf("%s: prepareDisk() = %v", name, err)
		}
	}
}

func TestDisks_LUNs(t *testing.T) {
	var d disks
	for want := range uint32(3) {
		lun, _, err := d.reserve(sandbox.Disk{})
		if err != nil || lun != want {
			t.Fatalf("reserve() = %d, %v, want %d", lun, err, want)
		}
		d.settle(lun, true)
	}
	if k, err := d.take(1); k == nil || err != nil {
		t.Fatalf("take(1) = %v, %v", k, err)
	}
	if _, err := d.take(1); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("take() of a busy disk = %v, want FailedPrecondition", err)
	}
	d.deleted("disk1")
	d.deleted("disk1")
	d.deleted("disk77")
	d.settle(1, false)
	if k, err := d.take(1); k != nil || err != nil {
		t.Errorf("take() of a free LUN = %v, %v, want nothing", k, err)
	}
	// What was freed comes again after all others, which is when the guest has long
	// forgotten what was there.
	for i := range uint32(maxDisks - 2) {
		want := i + 3
		if i == maxDisks-3 {
			want = 1
		}
		if lun, _, err := d.reserve(sandbox.Disk{}); lun != want || err != nil {
			t.Fatalf("reserve() = %d, %v, want %d", lun, err, want)
		}
	}
	if _, _, err := d.reserve(sandbox.Disk{}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("reserve() of a full VM = %v, want ResourceExhausted", err)
	}
}

// TestDisks_LUNsRestored: a restored VM goes on after the LUNs that the saved one had.
func TestDisks_LUNsRestored(t *testing.T) {
	var d disks
	for _, lun := range []uint32{7, 2} {
		if !d.put(sandbox.DiskAddress{LUN: lun}, sandbox.Disk{}) {
			t.Fatalf("put(%d) = false", lun)
		}
	}
	if lun, _, err := d.reserve(sandbox.Disk{}); lun != 8 || err != nil {
		t.Errorf("reserve() = %d, %v, want 8", lun, err)
	}
}
