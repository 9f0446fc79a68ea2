package layer

import (
	"archive/tar"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/testneed"
)

// acl is a POSIX ACL as the xattr calls have it: tag, permissions, id.
func acl(entries ...[3]uint32) string {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 2)
	for _, e := range entries {
		b = le.AppendUint16(b, uint16(e[0]))
		b = le.AppendUint16(b, uint16(e[1]))
		b = le.AppendUint32(b, e[2])
	}
	return string(b)
}

const none = 0xffffffff

var longName = strings.Repeat("n", 120) + "/" + strings.Repeat("m", 255)

func TestConvertTrees(t *testing.T) {
	cap1 := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	access := acl([3]uint32{1, 6, none}, [3]uint32{2, 4, 1000}, [3]uint32{4, 4, none},
		[3]uint32{16, 4, none}, [3]uint32{32, 0, none})
	tests := []struct {
		name    string
		entries []ent
		twice   bool
		want    string
	}{
		{name: "plain", entries: []ent{
			folder("./", 0o711), folder("etc/", 0o755), file("etc/a", "A").owner(7, 8), symlink("etc/l", "a"), file("empty", ""),
		}, want: `. drwx--x--x 0:0
empty -rw-r--r-- 0:0 ""
etc drwxr-xr-x 0:0
etc/a -rw-r--r-- 7:8 "A"
etc/l Lrwxrwxrwx 0:0 -> a
`},
		{name: "implied-parents", entries: []ent{folder(".", 0o700), file("a/b/c", "x"), folder("a", 0o1777)}, want: `. drwx------ 0:0
a dtrwxrwxrwx 0:0
a/b drwxr-xr-x 0:0
a/b/c -rw-r--r-- 0:0 "x"
`},
		{name: "whiteouts", entries: []ent{
			folder("a/", 0o750), file("a/.wh..wh..opq", ""), file("b/.wh.gone", ""), file(".wh..wh.plnk", ""), file(".wh..wh.aufs/x", ""),
			file("c/.wh..wh..opq", ""), folder("c", 0o700), file("c/f", "1"),
		}, want: `. drwxr-xr-x 0:0
a drwxr-x--- 0:0 {trusted.overlay.opaque="y"}
b drwxr-xr-x 0:0
b/gone Dc--------- 0:0 0,0
c drwx------ 0:0 {trusted.overlay.opaque="y"}
c/f -rw-r--r-- 0:0 "1"
`},
		{name: "whiteout-and-new", entries: []ent{
			file(".wh.f", ""), file("f", "new"), file(".wh.d", ""), file("d/x", "1"), file(".wh.e", ""), folder("e", 0o700),
			file("g", "1"), file(".wh.g", ""), folder("h", 0o755), file(".wh.h", ""),
		}, twice: true, want: `. drwxr-xr-x 0:0
d drwxr-xr-x 0:0 {trusted.overlay.opaque="y"}
d/x -rw-r--r-- 0:0 "1"
e drwx------ 0:0 {trusted.overlay.opaque="y"}
f -rw-r--r-- 0:0 "new"
g -rw-r--r-- 0:0 "1"
h drwxr-xr-x 0:0 {trusted.overlay.opaque="y"}
`},
		{name: "hard-links", entries: []ent{
			file("a", "same"), link("b/c", "a"), symlink("s", "nowhere"), link("s2", "/s"), link("b/c", "./a"),
		}, want: `. drwxr-xr-x 0:0
a -rw-r--r-- 0:0 "same"
b drwxr-xr-x 0:0
b/c -rw-r--r-- 0:0 = a
s Lrwxrwxrwx 0:0 -> nowhere
s2 Lrwxrwxrwx 0:0 = s
`},
		{name: "replaced-by-later", entries: []ent{
			file("a", "one"), link("b", "a"), file("a", "two, longer"), folder("d", 0o755), file("d/in", "gone"), link("kept", "d/in"),
			file("d", "now a file"), file("e", "was a file"), folder("e", 0o700), file("e/x", "y"),
			symlink("l", "a"), file("l", "no link"), link("a2", "b"), link("kept", "b"),
		}, twice: true, want: `. drwxr-xr-x 0:0
a -rw-r--r-- 0:0 "two, longer"
a2 -rw-r--r-- 0:0 "one"
b -rw-r--r-- 0:0 = a2
d -rw-r--r-- 0:0 "now a file"
e drwx------ 0:0
e/x -rw-r--r-- 0:0 "y"
kept -rw-r--r-- 0:0 = b
l -rw-r--r-- 0:0 "no link"
`},
		{name: "same-file-twice", entries: []ent{file("a", "1"), file("a", "2"), file("./a", "3")}, twice: true, want: `. drwxr-xr-x 0:0
a -rw-r--r-- 0:0 "3"
`},
		{name: "folder-twice", entries: []ent{
			folder("d", 0o700).xattr("user.one", "1"), file("d/x", "x"), folder("d/", 0o755).xattr("user.two", "2"), file("d/.wh..wh..opq", ""),
		}, want: `. drwxr-xr-x 0:0
d drwxr-xr-x 0:0 {trusted.overlay.opaque="y"} {user.one="1"} {user.two="2"}
d/x -rw-r--r-- 0:0 "x"
`},
		{name: "devices", entries: []ent{
			{tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
			{tar.Header{Typeflag: tar.TypeBlock, Name: "blk", Mode: 0o660, Devmajor: 259, Devminor: 70000}, ""},
			{tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600}, ""},
		}, want: `. drwxr-xr-x 0:0
blk Drw-rw---- 0:0 259,70000
fifo prw------- 0:0
null Dcrw-rw-rw- 0:0 1,3
`},
		{name: "xattrs", entries: []ent{
			file("ping", "elf").xattr("security.capability", cap1),
			file("many", "").xattr("user.a", strings.Repeat("a", 100)).xattr("user.bb", "b").xattr("user.ccc", strings.Repeat("c", 300)).
				xattr("security.x", strings.Repeat("x", 80)).xattr("trusted.t", strings.Repeat("t", 90)),
			file("acl", "").xattr("system.posix_acl_access", access),
			file("foreign", "").xattr("system.nfs4_acl", "1").xattr("trusted.overlay.redirect", "/etc").xattr("odd", "1"),
		}, want: `. drwxr-xr-x 0:0
acl -rw-r--r-- 0:0 "" {system.posix_acl_access="44 bytes"}
foreign -rw-r--r-- 0:0 ""
many -rw-r--r-- 0:0 "" {user.bb="b"} {user.a="100 bytes"} {user.ccc="300 bytes"} {trusted.t="90 bytes"} {security.x="80 bytes"}
ping -rw-r--r-- 0:0 "elf" {security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
`},
		{name: "long-names", entries: []ent{file(longName, "x"), symlink("s", "/"+longName), link("h", longName)}, want: `. drwxr-xr-x 0:0
h -rw-r--r-- 0:0 "x"
` + strings.Repeat("n", 120) + ` drwxr-xr-x 0:0
` + longName + ` -rw-r--r-- 0:0 = h
s Lrwxrwxrwx 0:0 -> /` + longName + "\n"},
		{name: "rooted-and-dotted", entries: []ent{folder("/", 0o755), file("/etc/x", "1"), file("./a/../y", "2")}, want: `. drwxr-xr-x 0:0
etc drwxr-xr-x 0:0
etc/x -rw-r--r-- 0:0 "1"
y -rw-r--r-- 0:0 "2"
`},
		{name: "through-relative-symlink", entries: []ent{folder("usr/bin", 0o755), symlink("bin", "usr/bin"), file("bin/sh", "1")}, want: `. drwxr-xr-x 0:0
bin Lrwxrwxrwx 0:0 -> usr/bin
usr drwxr-xr-x 0:0
usr/bin drwxr-xr-x 0:0
usr/bin/sh -rw-r--r-- 0:0 "1"
`},
		{name: "modes", entries: []ent{file("su", "").owner(100000, 3_000_000_000)}, want: `. drwxr-xr-x 0:0
su -rw-r--r-- 100000:3000000000 ""
`},
		{name: "lost-and-found", entries: []ent{file("lost+found", "a file"), file("d/.wh.lost+found", "")}, want: `. drwxr-xr-x 0:0
d drwxr-xr-x 0:0
d/lost+found Dc--------- 0:0 0,0
lost+found -rw-r--r-- 0:0 "a file"
`},
		{name: "lost-and-found-gone", entries: []ent{file(".wh.lost+found", "")}, want: `. drwxr-xr-x 0:0
lost+found Dc--------- 0:0 0,0
`},
		{name: "opaque-root", entries: []ent{file(".wh..wh..opq", ""), file("a", "1")}, want: `. drwxr-xr-x 0:0 {trusted.overlay.opaque="y"}
a -rw-r--r-- 0:0 "1"
`},
		{name: "empty", want: ". drwxr-xr-x 0:0\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vhd, res := convert(t, makeTar(t, tt.entries...))
			check(t, vhd)
			if res.Twice != tt.twice {
				t.Errorf("Twice = %v, want %v", res.Twice, tt.twice)
			}
			if diff := cmp.Diff(tt.want, list(t, mount(t, vhd))); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

// TestConvertTimes asks the kernel for times that take more than 32 bits, and less than none.
func TestConvertTimes(t *testing.T) {
	var entries []ent
	var want []time.Time
	for i, s := range []int64{0, 1, -1, -0x80000000, 1<<31 - 1, 1 << 31, 1 << 32, 1<<33 + 5, 0x37fffffff} {
		at := time.Unix(s, int64(i)*1001)
		e := file(fmt.Sprint(i), "")
		e.ModTime, e.AccessTime, e.Format = at, at, tar.FormatPAX
		entries, want = append(entries, e), append(want, at)
	}
	vhd, _ := convert(t, makeTar(t, entries...))
	check(t, vhd)
	root := mount(t, vhd)
	for i, at := range want {
		fi, err := os.Lstat(filepath.Join(root, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		st := fi.Sys().(*syscall.Stat_t)
		for name, got := range map[string]time.Time{"mtime": fi.ModTime(), "atime": time.Unix(st.Atim.Unix())} {
			if !got.Equal(at) {
				t.Errorf("%s of %v = %v", name, at, got)
			}
		}
	}
}

// TestConvertManyXattrs reads back what a block of attributes in a wrong order would hide.
func TestConvertManyXattrs(t *testing.T) {
	e, want := file("f", ""), map[string]string{}
	for i := range 20 {
		for _, ns := range []string{"user", "trusted", "security"} {
			name := fmt.Sprintf("%s.%s%d", ns, strings.Repeat("n", i%5), i)
			want[name] = fmt.Sprint(i)
			e = e.xattr(name, want[name])
		}
	}
	vhd, _ := convert(t, makeTar(t, e))
	check(t, vhd)
	path := filepath.Join(mount(t, vhd), "f")
	for name, value := range want {
		var b [8]byte
		if n, err := unix.Lgetxattr(path, name, b[:]); err != nil || string(b[:n]) != value {
			t.Errorf("%s = %q, %v, want %q", name, b[:max(n, 0)], err, value)
		}
	}
}

// TestConvertEqualsTar compares a tree that tar made with the same tree unpacked.
func TestConvertEqualsTar(t *testing.T) {
	testneed.Program(t, "tar")
	testneed.Root(t)
	src := t.TempDir()
	script := `set -e
mkdir -p d/e/f "odd name" && chmod 1777 d && chmod 2750 d/e
echo hello >d/a && ln d/a d/e/hard && ln -s ../a d/e/soft && mkfifo d/pipe && chmod 4755 d/a
mknod d/dev c 1 3
dd if=/dev/urandom of=d/big bs=1M count=3 status=none
truncate -s 20M d/hole && printf x | dd of=d/hole bs=1 seek=9000000 conv=notrunc status=none
touch "odd name/$(printf 'n%.0s' $(seq 200))" && chown 1234:5678 "odd name"
for i in $(seq 500); do echo $i >d/e/f/$i; done
: >d/zero`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = src
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make tree: %v\n%s", err, out)
	}
	for _, format := range []string{"gnu", "pax", "oldgnu"} {
		t.Run(format, func(t *testing.T) {
			out := t.TempDir()
			tarball := filepath.Join(t.TempDir(), "l.tar")
			for _, args := range [][]string{
				{"--format=" + format, "--sparse", "--numeric-owner", "-cf", tarball, "-C", src, "."},
				{"--numeric-owner", "-xpf", tarball, "-C", out},
			} {
				if msg, err := exec.Command("tar", args...).CombinedOutput(); err != nil {
					t.Fatalf("tar: %v\n%s", err, msg)
				}
			}
			b, err := os.ReadFile(tarball)
			if err != nil {
				t.Fatal(err)
			}
			vhd, _ := convert(t, b)
			check(t, vhd)
			if diff := cmp.Diff(list(t, out), list(t, mount(t, vhd))); diff != "" {
				t.Errorf("tree (-tar +layer):\n%s", diff)
			}
		})
	}
}

func TestConvertFullDisk(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", dir).CombinedOutput(); err != nil {
		testneed.Skip(t, "tmpfs mounts: %s", out)
	}
	defer exec.Command("umount", dir).Run()
	f, err := os.Create(filepath.Join(dir, "layer.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := makeTar(t, file("big", strings.Repeat("data", 1<<18)))
	_, err = Convert(t.Context(), bytesSource(b), f, Options{})
	if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), f.Name()) {
		t.Errorf("Convert = %v, want ResourceExhausted that names %s", err, f.Name())
	}
}
