package hcsvm

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
)

var update = flag.Bool("update", false, "write golden files")

func TestDocument(t *testing.T) {
	for name, m := range map[string]machine{
		"boot": {
			vcpus: 2, memoryMiB: 256,
			kernel: `C:\Program Files\Porthole\guest\vmlinux`, initrd: `C:\Program Files\Porthole\guest\initrd`,
			commandLine: "quiet panic=-1 reboot=t", console: `\\.\pipe\porthole-x-com1`, ports: []uint32{1024, 1025, 1026, 1027},
		},
		"restore": {
			vcpus: 1, memoryMiB: 64, kernel: `C:\k`, initrd: `C:\i`, console: `\\.\pipe\p`, ports: []uint32{1024}, restore: `C:\state.vmrs`,
			disks: []sandbox.SavedDisk{
				{Address: sandbox.DiskAddress{LUN: 2}, Disk: sandbox.Disk{Path: `C:\scratch.vhdx`, Format: sandbox.DiskVHDX}},
				{Address: sandbox.DiskAddress{Controller: 1}, Disk: sandbox.Disk{Path: `C:\layer.vhd`, ReadOnly: true}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(m.document(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("document (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSystemID(t *testing.T) {
	for _, tc := range []struct{ id, want string }{
		{"0123456789abcdef0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"},
		{"suite-create", ""}, {"0123456789ABCDEF0123456789ABCDEF", ""}, {"0123", ""},
	} {
		got := systemID(tc.id)
		if tc.want != "" && got != tc.want || len(got) != 36 || strings.ToLower(got) != got {
			t.Errorf("systemID(%s) = %s, want %s", tc.id, got, tc.want)
		}
		if tc.want == "" && got[14] != '5' {
			t.Errorf("systemID(%s) = %s, want a GUID of version 5", tc.id, got)
		}
	}
	if a, b, again := systemID("a"), systemID("b"), systemID("a"); a == b || a != again {
		t.Errorf("ids of a, b and a are %s, %s and %s", a, b, again)
	}
}

func TestWorkerSID(t *testing.T) {
	// The GUID's bytes in memory are 04 03 02 01 06 05 08 07 09 0a 0b 0c 0d 0e 0f 10.
	got, err := workerSID("01020304-0506-0708-090a-0b0c0d0e0f10")
	if want := "S-1-5-83-1-16909060-117966086-202050057-269422093"; err != nil || got != want {
		t.Errorf("workerSID() = %s, %v, want %s", got, err, want)
	}
	for _, bad := range []string{"", "x", "01020304"} {
		if got, err := workerSID(bad); err == nil {
			t.Errorf("workerSID(%q) = %s", bad, got)
		}
	}
}
