package disk

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/internal/testneed"
)

// sysfs makes a tree with files of the given contents.
func sysfs(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFind(t *testing.T) {
	b := bus{sys: sysfs(t, map[string]string{
		"class/scsi_host/host0/proc_name":          "ata_piix\n",
		"class/scsi_host/host2/proc_name":          "virtio_scsi\n",
		"class/scsi_host/host10/proc_name":         "virtio_scsi\n",
		"bus/scsi/devices/0:0:0:0/block/sdz/size":  "1",
		"bus/scsi/devices/2:0:0:0/block/sda/size":  "1",
		"bus/scsi/devices/10:0:0:3/block/sdb/size": "1",
		"bus/scsi/devices/2:0:0:16684/block/sdc/x": "1", // LUN 300, flat
		"bus/scsi/devices/2:0:0:5/type":            "0", // its driver has not come
	})}
	for _, tt := range []struct {
		addr Address
		want string
	}{
		{Address{0, 0}, "/dev/sda"}, {Address{1, 3}, "/dev/sdb"}, {Address{0, 300}, "/dev/sdc"},
		{Address{0, 5}, ""}, {Address{0, 1}, ""}, {Address{2, 0}, ""},
	} {
		got, err := b.find(tt.addr)
		if got != tt.want || (tt.want == "") != errdefs.IsNotFound(err) {
			t.Errorf("find(%v) = %q, %v, want %q", tt.addr, got, err, tt.want)
		}
	}
}

// TestFind_HyperV has controllers that the kernel found in another order.
func TestFind_HyperV(t *testing.T) {
	files := map[string]string{
		"bus/vmbus/devices/99999999-0000-0000-0000-000000000000/host0/x": "", // not one of ours
		"bus/scsi/devices/0:0:0:0/block/sdz/size":                        "1",
	}
	for n, host := range []string{"3", "1", "2", "4"} {
		files["bus/vmbus/devices/"+api.SCSIControllers[n]+"/host"+host+"/x"] = ""
		files["class/scsi_host/host"+host+"/proc_name"] = "storvsc_host\n"
		files["bus/scsi/devices/"+host+":0:0:7/block/sd"+host+"/size"] = "1"
	}
	b := bus{sys: sysfs(t, files)}
	for n, want := range []string{"/dev/sd3", "/dev/sd1", "/dev/sd2", "/dev/sd4"} {
		if got, err := b.find(Address{uint32(n), 7}); got != want || err != nil {
			t.Errorf("disk 7 of controller %d = %q, %v, want %q", n, got, err, want)
		}
	}
	for _, a := range []Address{{0, 0}, {4, 7}} {
		if got, err := b.find(a); !errdefs.IsNotFound(err) {
			t.Errorf("find(%v) = %q, %v, want NotFound", a, got, err)
		}
	}
}

func TestOpen_Cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := new(Disks).open(ctx, Address{Controller: 99}, os.O_RDONLY)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "disk 99:0") {
		t.Errorf("open = %v, want Canceled naming the disk", err)
	}
}

// TestOpen_Scans: the kernel may not know of a disk yet, and nothing but a scan tells it.
func TestOpen_Scans(t *testing.T) {
	sys := sysfs(t, map[string]string{
		"class/scsi_host/host2/proc_name":      "virtio_scsi\n",
		"class/scsi_host/host2/scan":           "",
		"bus/scsi/devices/2:0:0:3/block/x/dev": "", // known, though /dev has no such node
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := Disks{bus: bus{sys: sys}}
	for _, tt := range []struct {
		lun  uint32
		want string
	}{{3, ""}, {5, "0 0 5"}} {
		if _, _, err := d.open(ctx, Address{LUN: tt.lun}, os.O_RDONLY); !errors.Is(err, context.Canceled) {
			t.Fatalf("open of LUN %d = %v, want Canceled", tt.lun, err)
		}
		got, err := os.ReadFile(filepath.Join(sys, "class/scsi_host/host2/scan"))
		if err != nil || string(got) != tt.want {
			t.Errorf("waiting for LUN %d scanned for %q, %v, want %q", tt.lun, got, err, tt.want)
		}
	}
}

// TestEject: what is not there is ejected.
func TestEject(t *testing.T) {
	sys := sysfs(t, map[string]string{
		"class/scsi_host/host2/proc_name": "virtio_scsi\n",
		"bus/scsi/devices/2:0:0:3/delete": "",
	})
	d := Disks{bus: bus{sys: sys}}
	for _, a := range []Address{{LUN: 3}, {LUN: 4}, {Controller: 1, LUN: 3}} {
		if err := d.Eject(a); err != nil {
			t.Errorf("Eject(%v) = %v", a, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(sys, "bus/scsi/devices/2:0:0:3/delete")); string(got) != "1" {
		t.Errorf("the ejected disk was told %q, %v", got, err)
	}
}

func TestIsBlank(t *testing.T) {
	b := make([]byte, 4096)
	for want, magic := range map[bool][2]byte{true: {}, false: {0x53, 0xEF}} {
		copy(b[1024+56:], magic[:])
		name := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := isBlank(f)
		f.Close()
		if err != nil || got != want {
			t.Errorf("isBlank with magic %x = %v, %v, want %v", magic, got, err, want)
		}
	}
}

func TestWantsProjects(t *testing.T) {
	testneed.Program(t, "mkfs.ext4")
	for want, features := range map[bool][]string{false: {"-O", "^has_journal"}, true: {"-O", "quota,project", "-I", "256", "-E", "quotatype=prjquota"}} {
		name := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(name, make([]byte, 8<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mkfs.ext4", append(features, "-q", "-F", name)...).CombinedOutput(); err != nil {
			t.Fatalf("mkfs.ext4: %v\n%s", err, out)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wantsProjects(f)
		f.Close()
		if err != nil || got != want {
			t.Errorf("wantsProjects with %q = %v, %v, want %v", features, got, err, want)
		}
	}
}

func TestMountOverlay_TooManyLayers(t *testing.T) {
	layers := make([]string, 500)
	for i := range layers {
		layers[i] = "/run/g/l/100"
	}
	err := new(Disks).MountOverlay(filepath.Join(t.TempDir(), "r"), layers, "/u", "/w")
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("MountOverlay = %v, want ResourceExhausted", err)
	}
}
