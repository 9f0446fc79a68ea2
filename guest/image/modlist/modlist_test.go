package modlist

import (
	"bytes"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

const sample = `# 6.1.0-56-cloud-amd64
base scsi_common /lib/modules/scsi_common.ko -
base scsi_mod /lib/modules/scsi_mod.ko scsi_common

virtio virtio /lib/modules/virtio.ko -
virtio virtio_scsi /lib/modules/virtio_scsi.ko virtio,scsi_mod
hyperv hv_vmbus /lib/modules/hv_vmbus.ko -
lazy fuse /lib/modules/fuse.ko -
lazy virtiofs /lib/modules/virtiofs.ko fuse,virtio
`

func parse(t *testing.T, text string) []Module {
	t.Helper()
	list, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestParse(t *testing.T) {
	list := parse(t, sample)
	want := Module{Group: Virtio, Name: "virtio_scsi", Path: "/lib/modules/virtio_scsi.ko", Deps: []string{"virtio", "scsi_mod"}}
	if diff := cmp.Diff(want, list[3]); diff != "" {
		t.Errorf("module (-want +got):\n%s", diff)
	}
	var b bytes.Buffer
	if err := Write(&b, list); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, parse(t, b.String())); diff != "" {
		t.Errorf("written and read again (-want +got):\n%s", diff)
	}
	if list := parse(t, ""); len(list) != 0 {
		t.Errorf("Parse of an empty file = %v, want none", list)
	}
}

func TestParse_Refused(t *testing.T) {
	tests := map[string]string{
		"few_fields":   "base a /a",
		"two_spaces":   "base  a /a -",
		"group":        "boot a /a -",
		"name":         "base a-b /a -",
		"relative":     "base a a.ko -",
		"climbs":       "base a /lib/../a.ko -",
		"twice":        "base a /a -\nbase a /a -",
		"order":        "base a /a b\nbase b /b -",
		"cross_groups": "virtio a /a -\nhyperv b /b a",
		"base_on_lazy": "lazy a /a -\nbase b /b a",
		"long_line":    "base a /" + strings.Repeat("a", 2*maxLine) + " -",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(strings.NewReader(text)); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Parse = %v, want InvalidArgument", err)
			}
		})
	}
}

func TestClosure(t *testing.T) {
	list := parse(t, sample)
	got, err := Closure(list, "virtio-scsi")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range got {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"scsi_common", "scsi_mod", "virtio", "virtio_scsi"}, names); diff != "" {
		t.Errorf("closure (-want +got):\n%s", diff)
	}
	if _, err := Closure(list, "ext4"); !errdefs.IsNotFound(err) {
		t.Errorf("Closure(ext4) = %v, want NotFound", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add("base a /a -")
	f.Add("lazy a /a ,")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := Write(&b, list); err != nil {
			t.Fatalf("Write of a parsed list: %v", err)
		}
		again, err := Parse(&b)
		if err != nil {
			t.Fatalf("Parse of a written list: %v", err)
		}
		if diff := cmp.Diff(list, again); diff != "" {
			t.Errorf("list changed (-want +got):\n%s", diff)
		}
	})
}
