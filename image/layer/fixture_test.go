package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/porthole-run/porthole/internal/testneed"
)

var stamp = time.Unix(1_600_000_000, 0)

// ent is one entry of a test tar.
type ent struct {
	tar.Header
	data string
}

func file(name, data string) ent {
	return ent{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: stamp}, data}
}
func folder(name string, mode int64) ent {
	return ent{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, ModTime: stamp}, ""}
}
func symlink(name, to string) ent {
	return ent{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777, ModTime: stamp}, ""}
}
func link(name, to string) ent {
	return ent{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, ModTime: stamp}, ""}
}
func (e ent) xattr(name, value string) ent {
	records := map[string]string{xattrRecord + name: value}
	maps.Copy(records, e.PAXRecords)
	e.PAXRecords = records
	return e
}
func (e ent) owner(uid, gid int) ent {
	e.Uid, e.Gid = uid, gid
	return e
}

func makeTar(t testing.TB, entries ...ent) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.data))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func bytesSource(b []byte) Source {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// convert returns the path of the VHD that b becomes.
func convert(t testing.TB, b []byte) (string, Result) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err := Convert(context.Background(), bytesSource(b), f, Options{DiffID: digest.FromBytes(b)})
	if err != nil {
		t.Fatalf("Convert: %v", err)
	}
	return f.Name(), res
}

// convertError returns the error that b must give.
func convertError(t *testing.T, b []byte) error {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = Convert(context.Background(), bytesSource(b), f, Options{})
	if err == nil {
		t.Fatal("Convert: no error")
	}
	return err
}

// check runs e2fsck on the file system.
func check(t testing.TB, vhd string) {
	t.Helper()
	testneed.Program(t, "e2fsck")
	if out, err := exec.Command("e2fsck", "-fn", vhd).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

// sum shows the content of a file, or its digest when it is long.
func sum(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(b) <= 16 {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%d:%x", len(b), sha256.Sum256(b))[:24]
}
