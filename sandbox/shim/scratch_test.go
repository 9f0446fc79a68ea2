package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/template"
)

// TestPod_TakesScratch: the first pod with a disk like the template's gets that one, which
// the guest is told; whatever else a pod has is attached.
func TestPod_TakesScratch(t *testing.T) {
	for _, begin := range []bool{false, true} {
		t.Run(fmt.Sprint("begun=", begin), func(t *testing.T) {
			vm := newFakeVM()
			vm.waits = true
			r := newRigWith(t, func(c *ServerConfig) { c.Driver = vm })
			for _, tt := range []struct {
				path, disks string
				mounted     bool
			}{
				{"/d/larger", "[larger]", false},
				{"/d/scratch", "[scratch (taken)]", true},
				{"/d/scratch", "[scratch]", false},
			} {
				p := podSetup()
				p.Scratch.Path = tt.path
				if begin {
					if err := r.BeginPod(testContext(t), p); err != nil {
						t.Fatal(err)
					}
				}
				if err := r.SetupPod(testContext(t), p); err != nil {
					t.Fatal(err)
				}
				if got := vm.String(); !strings.Contains(got, "disks="+tt.disks) {
					t.Errorf("pod with %s: %s, want disks %s", tt.path, got, tt.disks)
				}
				if got := vm.guest.mounted["pod1"]; got != tt.mounted {
					t.Errorf("pod with %s: the guest was told %v, want %v", tt.path, got, tt.mounted)
				}
				if err := r.RemovePod(testContext(t), "pod1"); err != nil {
					t.Fatal(err)
				}
				if got := vm.String(); got != emptyVM {
					t.Errorf("left: %s", got)
				}
			}
		})
	}
}

// TestPod_TakeScratchFails: the disk is attached then.
func TestPod_TakeScratchFails(t *testing.T) {
	vm := newFakeVM()
	vm.waits, vm.fail = true, "take scratch"
	r := newRigWith(t, func(c *ServerConfig) { c.Driver = vm })
	r.pod(t)
	if got, want := vm.String(), "running disks=[scratch] nics=[eth0] pods=1 containers=0 execs=0"; got != want || vm.guest.mounted["pod1"] {
		t.Errorf("the pod has %s, the guest was told %v", got, vm.guest.mounted["pod1"])
	}
}

// TestSaveTemplate_Scratch: the disk that the VM is saved with is mounted before, or there is
// no template, or, with an older agent, none with a disk.
func TestSaveTemplate_Scratch(t *testing.T) {
	for _, tt := range []struct {
		name, fail string
		version    uint32
		disks      string
		bytes      int64
		want       string // of the error
	}{
		{"works", "", 0, "disks=[scratch]", 1 << 20, ""},
		{"no-disk", "attach scratch", 0, "", 1 << 20, "attach scratch is made to fail"},
		{"no-mount", "mount scratch", 0, "", 1 << 20, "mount scratch is made to fail"},
		{"old-agent", "", 3, "disks=[]", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newCloner()
			d.clone.fail, d.clone.guest.version = tt.fail, tt.version
			c := serverConfig(d.fakeVM, shortDir(t))
			c.Driver = d
			files := filesOf(t, "state", "scratch")
			if err := files.Scratch.Truncate(1 << 20); err != nil {
				t.Fatal(err)
			}
			err := saveTemplate(testContext(t), c, files)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("saveTemplate() = %v, want %q", err, tt.want)
			}
			state, err := os.ReadFile(files.State.Name())
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" && !strings.Contains(string(state), tt.disks) {
				t.Errorf("the VM was saved with %s, want %s", state, tt.disks)
			}
			if mounted := slices.Equal(d.clone.guest.ahead, []uint32{0}); mounted != (tt.disks == "disks=[scratch]" || tt.name == "no-mount") {
				t.Errorf("the guest has mounted %v", d.clone.guest.ahead)
			}
			if st, err := files.Scratch.Stat(); err != nil || st.Size() != tt.bytes {
				t.Errorf("the disk is %v, %v; want %d bytes", st, err, tt.bytes)
			}
		})
	}
}

// filesOf makes empty files of a template, with a scratch disk if one is named.
func filesOf(t *testing.T, names ...string) template.Files {
	t.Helper()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	f := template.Files{Memory: open("memory"), State: open("state")}
	if slices.Contains(names, "scratch") {
		f.Scratch = open("scratch")
	}
	return f
}

var _ sandbox.ScratchTaker = (*fakeVM)(nil)
