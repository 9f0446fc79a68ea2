package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

// mount shows the layer in a folder and returns where the image's root is.
func mount(t testing.TB, vhd string) string {
	t.Helper()
	testneed.Root(t)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop,ro", "-t", "ext4", vhd, dir).CombinedOutput(); err != nil {
		testneed.Skip(t, "loop mounts: %s", out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return filepath.Join(dir, Root)
}

// list prints all that a layer says of a tree, one line a name. Hard links are shown
// by the first of their names.
func list(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	seen := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&b, "%s %v %d:%d", rel, fi.Mode(), st.Uid, st.Gid)
		first, again := seen[st.Ino]
		switch {
		case again && !d.IsDir():
			fmt.Fprintf(&b, " = %s", first)
		case fi.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			fmt.Fprintf(&b, " -> %s", to)
		case fi.Mode()&fs.ModeDevice != 0:
			fmt.Fprintf(&b, " %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		case fi.Mode().IsRegular():
			fmt.Fprintf(&b, " %s", sum(p))
		}
		seen[st.Ino] = rel
		b.WriteString(xattrs(t, p))
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func xattrs(t testing.TB, p string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if errors.Is(err, unix.ENOTSUP) {
		return ""
	}
	if err != nil {
		t.Fatalf("list xattrs of %s: %v", p, err)
	}
	var out string
	for _, name := range strings.FieldsFunc(string(buf[:n]), func(r rune) bool { return r == 0 }) {
		v := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, v)
		if err != nil {
			t.Fatalf("get xattr %s of %s: %v", name, p, err)
		}
		val := string(v[:n])
		if len(val) > 24 {
			val = fmt.Sprintf("%d bytes", len(val))
		}
		out += fmt.Sprintf(" {%s=%q}", name, val)
	}
	return out
}
