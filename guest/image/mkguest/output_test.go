package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/porthole-run/porthole/guest/image"
)

func testManifest() image.Manifest {
	return image.Manifest{
		Version: image.ManifestVersion,
		Kernel:  image.Kernel{Flavour: image.Debian, Release: testRelease, ConfigSHA256: hash("c")},
		Parts:   []image.Part{{Name: "agent", Path: "/init", Version: "v1", Source: "porthole", Pinned: true}},
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteBundle(t *testing.T) {
	parent := t.TempDir()
	out := filepath.Join(parent, "guest")
	for _, kernel := range []string{"first", "second kernel"} {
		if err := checkOut(out); err != nil {
			t.Fatal(err)
		}
		if err := writeBundle(out, testManifest(), []byte(kernel), []byte("initrd")); err != nil {
			t.Fatal(err)
		}
		b, err := image.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		if got, _ := os.ReadFile(b.Kernel()); string(got) != kernel {
			t.Errorf("kernel is %q, want %q", got, kernel)
		}
	}
	if diff := cmp.Diff([]string{"guest"}, names(t, parent)); diff != "" {
		t.Errorf("folders that are left (-want +got):\n%s", diff)
	}
}

func TestWriteBundle_FailureKeepsTheOlder(t *testing.T) {
	parent := t.TempDir()
	out := filepath.Join(parent, "guest")
	if err := writeBundle(out, testManifest(), []byte("kernel"), []byte("initrd")); err != nil {
		t.Fatal(err)
	}
	bad := testManifest()
	bad.Kernel.Release = ""
	if err := writeBundle(out, bad, []byte("other"), []byte("initrd")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("writeBundle = %v, want InvalidArgument", err)
	}
	if b, err := image.Open(out); err != nil || b.Verify(t.Context()) != nil {
		t.Errorf("the older bundle is damaged: %v", err)
	}
	if diff := cmp.Diff([]string{"guest"}, names(t, parent)); diff != "" {
		t.Errorf("folders that are left (-want +got):\n%s", diff)
	}
}

func TestCheckOut_RefusesForeignFolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkOut(dir); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("checkOut = %v, want an error that names the file", err)
	}
}

func TestCache_Get(t *testing.T) {
	dir := t.TempDir()
	open := func() *cache {
		c, err := openCache(dir, newConsole(t.Output()))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open()
	built := 0
	build := func(_ context.Context, _, out string) error {
		built++
		return os.WriteFile(filepath.Join(out, "result"), []byte("x"), 0o644)
	}
	failing := func(_ context.Context, _, out string) error {
		if err := os.WriteFile(filepath.Join(out, "result"), []byte("half"), 0o644); err != nil {
			return err
		}
		return errors.New("compiler fell over")
	}
	if _, err := c.get(t.Context(), "build/a", key("1"), failing); err == nil {
		t.Error("get of a failing build gave no error")
	}
	if _, err := os.Stat(filepath.Join(dir, "build")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed build left %v", names(t, filepath.Join(dir, "build")))
	}
	for range 2 {
		got, err := c.get(t.Context(), "build/a", key("1"), build)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(got, "result")); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.get(t.Context(), "build/a", key("2"), build); err != nil || built != 2 {
		t.Errorf("built %d times (%v), want once for each of two keys", built, err)
	}
	c.close()
	if left := names(t, filepath.Join(dir, "tmp")); left != nil {
		t.Errorf("temporary folders that are left: %v", left)
	}
}

func TestKey_KeepsInputsApart(t *testing.T) {
	if key("ab", "c") == key("a", "bc") || key("a") == key("a", "") {
		t.Error("different inputs have the same key")
	}
}

// program makes the head of an ELF program, with an interpreter if dynamic.
func program(machine elf.Machine, dynamic bool) []byte {
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1, Shentsize: 64}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	p := elf.Prog64{Type: uint32(elf.PT_LOAD)}
	if dynamic {
		p.Type = uint32(elf.PT_INTERP)
	}
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, h)
	binary.Write(&b, binary.LittleEndian, p)
	return b.Bytes()
}

func TestReadAgent(t *testing.T) {
	for _, tt := range []struct {
		name    string
		content []byte
		wrong   string
	}{
		{"static", program(elf.EM_X86_64, false), ""},
		{"dynamic", program(elf.EM_X86_64, true), "linked dynamically"},
		{"other_machine", program(elf.EM_AARCH64, false), "want x86-64"},
		{"script", []byte("#!/bin/sh"), "not a program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "agent")
			if err := os.WriteFile(file, tt.content, 0o755); err != nil {
				t.Fatal(err)
			}
			p, err := readAgent(t.Context(), file)
			switch {
			case tt.wrong == "" && (err != nil || p.Path != "/init" || p.Size != int64(len(tt.content))):
				t.Errorf("readAgent = %+v, %v", p.Part, err)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("readAgent = %v, want %q in it", err, tt.wrong)
			}
		})
	}
}

func TestInitrdEntries(t *testing.T) {
	agent := newPart(image.Part{Name: "agent", Path: "/init"}, []byte("agent"))
	entries, err := initrdEntries([]part{agent}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name)
	}
	want := []string{"dev/console", "tmp", "etc", "proc", "run", "sys", "init", "lib/porthole/modules", "lib/porthole/module-aliases"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestParseFlags(t *testing.T) {
	base := []string{"--out", "o", "--cache", "c", "--agent", "a"}
	if o, err := parseFlags(base); err != nil || o.kernel != image.Debian || !filepath.IsAbs(o.out) {
		t.Errorf("parseFlags = %+v, %v", o, err)
	}
	for name, args := range map[string][]string{
		"none":      nil,
		"no_agent":  base[:4],
		"kernel":    append(base[:6:6], "--kernel", "huge"),
		"arguments": append(base[:6:6], "more"),
	} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%s: parseFlags gave no error", name)
		}
	}
}
