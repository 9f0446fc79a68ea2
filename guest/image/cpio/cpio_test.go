package cpio

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// read parses what Write makes, as the kernel does: it exists only here, to
// check the writer against the format instead of against itself.
func read(b []byte) ([]Entry, error) {
	var out []Entry
	take := func(n int) ([]byte, error) {
		if n > len(b) {
			return nil, fmt.Errorf("want %d bytes, have %d", n, len(b))
		}
		p := b[:n]
		b = b[n:]
		return p, nil
	}
	for {
		h, err := take(110)
		if err != nil {
			return nil, err
		}
		if string(h[:6]) != "070701" {
			return nil, fmt.Errorf("bad magic %q", h[:6])
		}
		f := make([]uint32, 13)
		for i := range f {
			v, err := strconv.ParseUint(string(h[6+8*i:14+8*i]), 16, 32)
			if err != nil {
				return nil, err
			}
			f[i] = uint32(v)
		}
		nameLen := int(f[11])
		name, err := take(nameLen + (4-(110+nameLen)%4)%4)
		if err != nil {
			return nil, err
		}
		if name[nameLen-1] != 0 {
			return nil, errors.New("name does not end with zero")
		}
		body, err := take(int(f[6]) + (4-int(f[6])%4)%4)
		if err != nil {
			return nil, err
		}
		e := Entry{Name: string(name[:nameLen-1]), Mode: f[1], Major: f[9], Minor: f[10]}
		if f[6] > 0 {
			e.Body = body[:f[6]]
		}
		if e.Name == trailer {
			if len(b) != 0 {
				return nil, fmt.Errorf("%d bytes after the trailer", len(b))
			}
			return out, nil
		}
		out = append(out, e)
	}
}

func TestWrite(t *testing.T) {
	in := []Entry{
		{Name: "init", Mode: TypeFile | 0o755, Body: []byte("#!agent")},
		{Name: "dev/console", Mode: TypeChar | 0o600, Major: 5, Minor: 1},
		{Name: "bin/sh", Mode: TypeSymlink | 0o777, Body: []byte("busybox")},
		{Name: "tmp", Mode: TypeDir | 0o1777},
		{Name: "empty", Mode: TypeFile | 0o644},
	}
	want := []Entry{
		{Name: "bin", Mode: TypeDir | 0o755},
		{Name: "bin/sh", Mode: TypeSymlink | 0o777, Body: []byte("busybox")},
		{Name: "dev", Mode: TypeDir | 0o755},
		{Name: "dev/console", Mode: TypeChar | 0o600, Major: 5, Minor: 1},
		{Name: "empty", Mode: TypeFile | 0o644},
		{Name: "init", Mode: TypeFile | 0o755, Body: []byte("#!agent")},
		{Name: "tmp", Mode: TypeDir | 0o1777},
	}
	var a, b bytes.Buffer
	if err := Write(&a, in); err != nil {
		t.Fatal(err)
	}
	got, err := read(a.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	in[0], in[3] = in[3], in[0]
	if err := Write(&b, in); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("the order of the entries changed the archive")
	}
}

func TestWrite_Refused(t *testing.T) {
	file := func(name string) Entry { return Entry{Name: name, Mode: TypeFile | 0o644} }
	tests := map[string][]Entry{
		"empty":          {file("")},
		"dot":            {file(".")},
		"absolute":       {file("/etc/passwd")},
		"climbs":         {file("../x")},
		"parent":         {file("..")},
		"unclean":        {file("a//b")},
		"zero_byte":      {file("a\x00b")},
		"trailer":        {file(trailer)},
		"twice":          {file("a"), file("a")},
		"no_type":        {{Name: "a", Mode: 0o644}},
		"dir_body":       {{Name: "a", Mode: TypeDir, Body: []byte("x")}},
		"file_device":    {{Name: "a", Mode: TypeFile, Major: 1}},
		"empty_link":     {{Name: "a", Mode: TypeSymlink}},
		"file_as_parent": {file("a"), file("a/b")},
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Write(&b, entries); !errdefs.IsInvalidArgument(err) {
				t.Errorf("Write = %v, want InvalidArgument", err)
			}
			if b.Len() != 0 {
				t.Errorf("Write wrote %d bytes before it failed", b.Len())
			}
		})
	}
}

type failAfter int

func (f *failAfter) Write(p []byte) (int, error) {
	if *f -= failAfter(len(p)); *f < 0 {
		return 0, errors.New("disk is full")
	}
	return len(p), nil
}

func TestWrite_WriterFails(t *testing.T) {
	f := failAfter(2 << 20)
	err := Write(&f, []Entry{{Name: "big", Mode: TypeFile, Body: make([]byte, 4<<20)}})
	if err == nil || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("Write = %v, want the writer's error", err)
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("bin/crun", uint32(TypeFile|0o755), []byte("ELF"))
	f.Add("a/b/c", uint32(TypeSymlink|0o777), []byte("target"))
	f.Add("x", uint32(TypeDir|0o755), []byte{})
	f.Add("../x", uint32(TypeFile), []byte{1})
	f.Fuzz(func(t *testing.T, name string, mode uint32, body []byte) {
		e := Entry{Name: name, Mode: mode, Body: body}
		var b bytes.Buffer
		if err := Write(&b, []Entry{e}); err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatal(err)
			}
			return
		}
		got, err := read(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if last := got[len(got)-1]; last.Name != name || last.Mode != mode || !bytes.Equal(last.Body, body) {
			t.Errorf("read back %+v, want %+v", last, e)
		}
	})
}
