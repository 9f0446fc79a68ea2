package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/porthole-run/porthole/guest/image/modlist"
)

const testRelease = "6.1.0-test"

// koFile makes the smallest ELF object that states module facts.
func koFile(modinfo string) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	bodyAt := uint64(64)
	namesAt := bodyAt + uint64(len(modinfo))
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: namesAt + uint64(len(names)),
		Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	var b bytes.Buffer
	le := binary.LittleEndian
	binary.Write(&b, le, h)
	b.WriteString(modinfo + names)
	binary.Write(&b, le, elf.Section64{})
	binary.Write(&b, le, elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: bodyAt, Size: uint64(len(modinfo))})
	binary.Write(&b, le, elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))})
	return b.Bytes()
}

// testTree writes modules, given as name to dependencies, and reads them as a
// kernel package's.
func testTree(t *testing.T, deps map[string]string, builtin ...string) *moduleTree {
	t.Helper()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "kernel", "drivers"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, d := range deps {
		info := "name=" + name + "\x00depends=" + d + "\x00alias=drv-" + name + "\x00vermagic=" + testRelease + " SMP\x00"
		// Files are often named with dashes where the module has underscores.
		file := filepath.Join(root, "kernel", "drivers", strings.ReplaceAll(name, "_", "-")+".ko")
		if err := os.WriteFile(file, koFile(info), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var lines strings.Builder
	for _, b := range builtin {
		lines.WriteString("kernel/fs/" + b + ".ko\n")
	}
	if err := os.WriteFile(filepath.Join(root, "modules.builtin"), []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	tree, err := readModuleTree(root, testRelease)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestPlan(t *testing.T) {
	tree := testTree(t, map[string]string{
		"overlay": "", "virtio": "ring", "ring": "", "virtio_scsi": "virtio,scsi_mod", "scsi_mod": "scsi_common", "scsi_common": "",
		"vmbus": "", "storvsc": "vmbus,scsi_mod", "fuse": "", "virtiofs": "fuse,virtio", "unwanted": "",
	}, "ext4")
	modules, err := tree.plan(map[modlist.Group][]string{
		modlist.Base:   {"ext4", "overlay"},
		modlist.Virtio: {"virtio_scsi"},
		modlist.HyperV: {"storvsc"},
		modlist.Lazy:   {"virtiofs", "overlay"},
	})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := moduleEntries(modules)
	if err != nil {
		t.Fatal(err)
	}
	at := "/lib/modules/" + testRelease + "/kernel/drivers/"
	want := "base overlay " + at + "overlay.ko -\n" +
		"base scsi_common " + at + "scsi-common.ko -\n" + // both machines need it
		"base scsi_mod " + at + "scsi-mod.ko scsi_common\n" +
		"virtio ring " + at + "ring.ko -\n" +
		"virtio virtio " + at + "virtio.ko ring\n" +
		"virtio virtio_scsi " + at + "virtio-scsi.ko virtio,scsi_mod\n" +
		"hyperv vmbus " + at + "vmbus.ko -\n" +
		"hyperv storvsc " + at + "storvsc.ko vmbus,scsi_mod\n" +
		"lazy fuse " + at + "fuse.ko -\n" +
		"lazy virtiofs " + at + "virtiofs.ko fuse,virtio\n"
	got := map[string]string{}
	for _, e := range entries {
		got["/"+e.Name] = string(e.Body)
	}
	if diff := cmp.Diff(want, got[modlist.Path]); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("drv_fuse fuse\ndrv_virtiofs virtiofs\n", got[modlist.AliasPath]); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	if list, err := modlist.Parse(strings.NewReader(want)); err != nil || len(list) != len(modules) {
		t.Errorf("modlist.Parse = %d modules, %v", len(list), err)
	}
}

func TestPlan_Refused(t *testing.T) {
	tests := []struct {
		name string
		deps map[string]string
		kind func(error) bool
	}{
		{"missing", map[string]string{"b": ""}, errdefs.IsNotFound},
		{"missing_dependency", map[string]string{"a": "gone"}, errdefs.IsNotFound},
		{"circle", map[string]string{"a": "b", "b": "a"}, errdefs.IsInvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := testTree(t, tt.deps).plan(map[modlist.Group][]string{modlist.Base: {"a"}}); !tt.kind(err) {
				t.Errorf("plan = %v, which is the wrong kind", err)
			}
		})
	}
	t.Run("other_kernel", func(t *testing.T) {
		tree := testTree(t, map[string]string{"a": ""})
		tree.release = "6.1.0-other"
		if _, err := tree.plan(map[modlist.Group][]string{modlist.Base: {"a"}}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("plan = %v, want InvalidArgument", err)
		}
	})
}
