package sharetest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/sharetest"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// mapVar names a file to write through a mapping. That is for another process: a page
// fault keeps a thread of ours, and the server may need it to answer.
const mapVar = "SHARETEST_MAP"

func TestMain(m *testing.M) {
	if name := os.Getenv(mapVar); name != "" {
		if err := writeMapped(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// writeMapped makes a file of one page, and leaves it to the kernel to write it.
func writeMapped(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := f.Truncate(4096); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, "mapped")
	return errors.Join(unix.Munmap(m), f.Close())
}

func TestMount(t *testing.T) {
	dir := sharetest.Mount(t, share.Config{Backend: memfs.New(memfs.Options{}), Private: true})
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, want, 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o750); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(dir, "folder", "moved")
	if err := os.Rename(file, moved); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(moved); err != nil || st.Mode().Perm() != 0o640 || st.Size() != int64(len(want)) {
		t.Errorf("stat = %v, %v", st, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "folder" {
		t.Errorf("ReadDir = %v, %v", entries, err)
	}
}

// TestMount_WritesBack keeps what was written through a mapping and not synced.
func TestMount_WritesBack(t *testing.T) {
	fs := memfs.New(memfs.Options{})
	dir := filepath.Join(t.TempDir(), "m")
	sharetest.Mount(t, share.Config{Backend: memfs.New(memfs.Options{}), Private: true}) // says what is missing
	unmount, err := sharetest.MountDir(t.Context(), share.Config{Backend: fs, Private: true}, dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), mapVar+"="+filepath.Join(dir, "f"))
	out, err := cmd.CombinedOutput()
	if err := errors.Join(err, unmount()); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n, _, err := fs.Root().Lookup("f")
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	h, err := n.Open(unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	b := make([]byte, 6)
	if n, err := h.ReadAt(b, 0); n != 6 || string(b) != "mapped" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

func TestMount_ReadOnly(t *testing.T) {
	dir := sharetest.Mount(t, share.Config{Backend: memfs.New(memfs.Options{}), Private: true, ReadOnly: true})
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); !errors.Is(err, unix.EROFS) {
		t.Errorf("Mkdir = %v, want EROFS", err)
	}
}
