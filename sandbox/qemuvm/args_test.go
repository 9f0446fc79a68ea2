package qemuvm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files")

func TestMachine_Args(t *testing.T) {
	fds := func(m machine) machine {
		m.kernelFD, m.initrdFD, m.qmpFD, m.consoleFD, m.muxFD, m.tapFD = 3, 4, 5, 6, 7, 8
		return m
	}
	for _, tc := range []struct {
		name string
		m    machine
	}{
		{"tcg", fds(machine{accel: TCG, vcpus: 1, memoryMiB: 256, commandLine: "quiet panic=-1 reboot=t", tscKHz: 2596130})},
		{"kvm", fds(machine{accel: KVM, vcpus: 4, memoryMiB: 2048, tscKHz: 2596130})},
		{"template", fds(machine{origin: saved, memoryFD: 9, accel: TCG, vcpus: 1, memoryMiB: 256, tscKHz: 2596130})},
		{"clone", fds(machine{origin: cloned, memoryFD: 9, accel: TCG, vcpus: 1, memoryMiB: 256, tscKHz: 2596130})},
		{"shared", fds(machine{accel: TCG, vcpus: 2, memoryMiB: 1024, furtherTapFDs: []int{9, 10}})},
		{"restored", fds(machine{origin: restored, accel: TCG, vcpus: 1, memoryMiB: 256, saved: savedDetail{Balloon: true}})},
		{"restored_clone", fds(machine{origin: restored, accel: TCG, vcpus: 1, memoryMiB: 256, saved: savedDetail{Memory: memoryID}})},
		{"no_tsc", fds(machine{accel: TCG, vcpus: 1, memoryMiB: 256})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := strings.Join(tc.m.args(), "\n") + "\n"
			golden := filepath.Join("testdata", "args_"+tc.name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("args differ from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func TestTSCKHz(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     int
		fails    bool
	}{
		{"amd", "processor\t: 0\ncpu MHz\t\t: 1496.1\nbogomips\t: 5192.26\n", 2596130, false},
		{"first_of_two", "bogomips\t: 4000.00\nbogomips\t: 6000.00\n", 2000000, false},
		{"none", "processor\t: 0\n", 0, true},
		{"zero", "bogomips\t: 0.00\n", 0, true},
		{"words", "bogomips\t: many\n", 0, true},
		{"empty", "", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tscKHz(strings.NewReader(tc.in))
			if got != tc.want || (err != nil) != tc.fails {
				t.Errorf("tscKHz() = %d, %v, want %d, failure %v", got, err, tc.want, tc.fails)
			}
		})
	}
}

func TestNew_Refuses(t *testing.T) {
	good := Config{Accel: TCG, UIDs: UIDs{Base: 1, Count: 1, Locks: t.TempDir()}, GID: 1}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"root":       func(c *Config) { c.UIDs.Base = 0 },
		"no_uids":    func(c *Config) { c.UIDs.Count = 0 },
		"too_many":   func(c *Config) { c.UIDs = UIDs{Base: 1<<32 - 3, Count: 3, Locks: c.UIDs.Locks} },
		"no_locks":   func(c *Config) { c.UIDs.Locks = "uids" },
		"root_group": func(c *Config) { c.GID = 0 },
		"auto":       func(c *Config) { c.Accel = "auto" },
		"relative":   func(c *Config) { c.Binary = "qemu" },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: New() took it", name)
		}
	}
}

func TestParseVersion(t *testing.T) {
	for _, tc := range []struct {
		in           string
		major, minor int
		fails        bool
	}{
		{"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", 7, 2, false},
		{"QEMU emulator version 10.1", 10, 1, false},
		{"QEMU emulator version 8.0rc1", 8, 0, true}, // "0rc1" is not a number
		{"something else", 0, 0, true},
	} {
		major, minor, err := parseVersion(tc.in)
		if (err != nil) != tc.fails || (!tc.fails && (major != tc.major || minor != tc.minor)) {
			t.Errorf("parseVersion(%q) = %d, %d, %v", tc.in, major, minor, err)
		}
	}
}
