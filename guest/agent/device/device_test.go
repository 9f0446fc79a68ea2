package device

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	g := &Guest{Sys: t.TempDir()}
	must(t, os.MkdirAll(filepath.Join(g.Sys, "dev/char/1:3"), 0o755))
	var asked []string
	g.Load = func(name string) error {
		asked = append(asked, name)
		switch name {
		case "char-major-10-229":
			return os.MkdirAll(filepath.Join(g.Sys, "dev/char/10:229"), 0o755)
		case "char-major-10-232":
			return errors.New("no such hardware")
		}
		return fmt.Errorf("module %s: %w", name, errdefs.ErrNotFound)
	}
	at := func(kind string, major, minor int64) specs.LinuxDevice {
		return specs.LinuxDevice{Type: kind, Major: major, Minor: minor}
	}
	for _, d := range []specs.LinuxDevice{at("c", 1, 3), at("c", 10, 229), at("u", 10, 229)} {
		if err := g.Find(d); err != nil {
			t.Errorf("Find(%+v) = %v", d, err)
		}
	}
	for want, d := range map[string]specs.LinuxDevice{
		"none": at("c", 9, 9), "no such hardware": at("c", 10, 232), `type "p"`: at("p", 0, 0), "the guest has": at("b", 1, 3),
	} {
		if err := g.Find(d); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("Find(%+v) = %v, want InvalidArgument with %q", d, err, want)
		}
	}
	for _, a := range asked {
		if a == "char-major-1-3" {
			t.Error("a driver was asked for that is there")
		}
	}
}

func TestPages(t *testing.T) {
	g := &Guest{Sys: t.TempDir()}
	if got := g.PageSizes(); len(got) != 0 {
		t.Errorf("sizes of a kernel without huge pages: %v", got)
	}
	file := map[string]string{}
	for _, kb := range []string{"2048", "1048576", "64"} {
		dir := filepath.Join(g.Sys, "kernel/mm/hugepages/hugepages-"+kb+"kB")
		must(t, os.MkdirAll(dir, 0o755))
		file[kb] = filepath.Join(dir, "nr_overcommit_hugepages")
		must(t, os.WriteFile(file[kb], []byte("0\n"), 0o644))
	}
	if diff := cmp.Diff([]string{"1GB", "2MB", "64KB"}, g.PageSizes()); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
	for _, bytes := range []uint64{4 << 20, 3 << 20, 1} {
		must(t, g.AllowPages("2MB", bytes))
	}
	if got, err := os.ReadFile(file["2048"]); err != nil || string(got) != "3" {
		t.Errorf("pages of 2 MB: %q, %v; want 2 and 1", got, err)
	}
	must(t, g.AllowPages("2MB", 1<<63))
	must(t, g.AllowPages("2MB", 1<<63))
	if err := g.AllowPages("4MB", 1); err == nil {
		t.Error("pages of a size that the kernel has not are allowed")
	}
	for _, size := range []string{"", "MB", "0MB", "-1GB", "2mb", "2", "9999999999MB"} {
		if err := g.AllowPages(size, 1); !errdefs.IsInvalidArgument(err) {
			t.Errorf("AllowPages(%q) = %v, want InvalidArgument", size, err)
		}
	}
	must(t, os.WriteFile(file["64"], []byte("many"), 0o644))
	if err := g.AllowPages("64KB", 1<<20); err == nil {
		t.Error("a number that is none is taken")
	}
}

func FuzzSizeKB(f *testing.F) {
	for _, s := range []string{"2MB", "1GB", "64KB", "", "MB", "-1MB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		kb, err := sizeKB(s)
		if err == nil && (kb == 0 || sizeName(kb) == "") {
			t.Errorf("sizeKB(%q) = %d", s, kb)
		}
	})
}
