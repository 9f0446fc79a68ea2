package hostfs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/share/posix"
)

var overrides = []struct {
	text string
	want override
	ok   bool
}{
	{"0:0:0755", override{mode: 0o755}, true},
	{"1000:100:644:file", override{uid: 1000, gid: 100, mode: 0o644, typ: posix.S_IFREG}, true},
	{"1:2:4755:dir", override{uid: 1, gid: 2, mode: 0o4755, typ: posix.S_IFDIR}, true},
	{"1:2:100644:symlink", override{uid: 1, gid: 2, mode: 0o644, typ: posix.S_IFLNK}, true},
	{"0:0:0600:char-1-3", override{mode: 0o600, typ: posix.S_IFCHR, major: 1, minor: 3}, true},
	{"0:0:0600:block-4095-1048575", override{mode: 0o600, typ: posix.S_IFBLK, major: 4095, minor: 1<<20 - 1}, true},
	{"4294967295:0:0:pipe", override{uid: 1<<32 - 1, typ: posix.S_IFIFO}, true},
	{"0:0:0:socket", override{typ: posix.S_IFSOCK}, true},
	{"", override{}, false},
	{"0:0", override{}, false},
	{"0:0:0:file:", override{}, false},
	{"4294967296:0:0", override{}, false},
	{"-1:0:0", override{}, false},
	{"+1:0:0", override{}, false},
	{"0:0:9", override{}, false},
	{"0:0:0:door", override{}, false},
	{"0:0:0:char-1", override{}, false},
	{"0:0:0:char-4096-0", override{}, false},
	{"0:0:0:block-0-1048576", override{}, false},
	{"0:0:0:fifo-1-2", override{}, false},
}

func TestParseOverride(t *testing.T) {
	for _, c := range overrides {
		got, ok := parseOverride([]byte(c.text))
		if ok != c.ok || ok && got != c.want {
			t.Errorf("parse(%q) = %+v, %v, want %+v, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func FuzzOverride(f *testing.F) {
	for _, c := range overrides {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, ok := parseOverride(b)
		if !ok {
			return
		}
		text := o.String()
		if again, ok := parseOverride([]byte(text)); !ok || again != o || len(text) > overrideMax {
			t.Errorf("%q is %+v, written as %q is %+v, %v", b, o, text, again, ok)
		}
	})
}

// dirents returns what the kernel says of a folder.
func dirents(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"a", "bb", "\xff", strings.Repeat("n", 255)} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(fd)
	buf := make([]byte, 4096)
	n, err := unix.Getdents(fd, buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func TestParseDirents(t *testing.T) {
	b := dirents(t)
	list, err := parseDirents(b)
	if err != nil || len(list) != 6 {
		t.Fatalf("parse = %v, %v", list, err)
	}
	for cut := 1; cut < 24; cut++ {
		if _, err := parseDirents(b[:len(b)-cut]); err == nil {
			t.Errorf("parse of %d bytes less = nil", cut)
		}
	}
}

func FuzzDirents(f *testing.F) {
	f.Add(dirents(f))
	f.Add([]byte{})
	f.Add(make([]byte, 19))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseDirents(b)
		if err != nil && list != nil {
			t.Error("a list and an error")
		}
		for _, e := range list {
			if e.name == "" || strings.ContainsAny(e.name, "/\x00") || len(e.name) > posix.NAME_MAX {
				t.Errorf("name %q", e.name)
			}
		}
	})
}

// fanBytes makes a record as fanotify(7) describes it.
func fanBytes(mask uint64, pid uint32, infos ...[]byte) []byte {
	b := make([]byte, 24)
	for _, i := range infos {
		b = append(b, i...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	b[4] = unix.FANOTIFY_METADATA_VERSION
	binary.NativeEndian.PutUint16(b[6:], 24)
	binary.NativeEndian.PutUint64(b[8:], mask)
	binary.NativeEndian.PutUint32(b[20:], pid)
	return b
}

func fanInfo(typ uint8, handle, name string) []byte {
	b := []byte{typ, 0, 0, 0}
	b = append(b, "fsid----"...)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(handle)))
	b = binary.NativeEndian.AppendUint32(b, 1)
	b = append(b, handle...)
	b = append(b, name...)
	b = append(b, make([]byte, 4-len(b)%4)...)
	binary.NativeEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func TestParseFanotify(t *testing.T) {
	b := fanBytes(unix.FAN_RENAME, 7,
		fanInfo(unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, "dir-", "old"),
		fanInfo(unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, "to--", "new\xff"),
		fanInfo(unix.FAN_EVENT_INFO_TYPE_FID, "file", ""))
	b = append(b, fanBytes(unix.FAN_Q_OVERFLOW, 0)...)
	got, err := parseFanotify(b)
	head := "fsid----\x04\x00\x00\x00\x01\x00\x00\x00"
	want := []fanRecord{
		{mask: unix.FAN_RENAME, pid: 7, dir: fanHandle(head + "dir-"), newDir: fanHandle(head + "to--"),
			name: "old", newName: "new\xff", child: fanHandle(head + "file")},
		{mask: unix.FAN_Q_OVERFLOW},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(fanRecord{})); err != nil || diff != "" {
		t.Errorf("parse: %v\n%s", err, diff)
	}
	for cut := 1; cut < 24; cut++ {
		if got, err := parseFanotify(b[:len(b)-cut]); err == nil || len(got) != 1 {
			t.Errorf("parse of %d bytes less = %d records, %v", cut, len(got), err)
		}
	}
}

func FuzzFanotify(f *testing.F) {
	f.Add(fanBytes(unix.FAN_CREATE, 1, fanInfo(unix.FAN_EVENT_INFO_TYPE_DFID_NAME, "12345678", "name"), fanInfo(unix.FAN_EVENT_INFO_TYPE_FID, "1234", "")))
	f.Add(fanBytes(unix.FAN_Q_OVERFLOW, 0))
	f.Add(fanBytes(unix.FAN_RENAME, 0, fanInfo(unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, "", ".")))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _ := parseFanotify(b)
		for _, r := range list {
			for _, h := range []fanHandle{r.dir, r.newDir, r.child} {
				if h != "" {
					h.open()
				}
			}
			if strings.ContainsRune(r.name+r.newName, 0) {
				t.Errorf("names %q, %q", r.name, r.newName)
			}
		}
	})
}

func FuzzInotify(f *testing.F) {
	one := binary.NativeEndian.AppendUint32(nil, 1)
	one = binary.NativeEndian.AppendUint32(one, unix.IN_CREATE)
	one = binary.NativeEndian.AppendUint32(one, 0)
	one = binary.NativeEndian.AppendUint32(one, 8)
	f.Add(append(one, "name\x00\x00\x00\x00"...))
	f.Add(one)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseInotify(b)
		if err == nil && len(b) > 0 && len(list) == 0 {
			t.Error("nothing, and no error")
		}
		for _, r := range list {
			if strings.ContainsRune(r.name, 0) {
				t.Errorf("name %q", r.name)
			}
		}
	})
}

func TestInodeNumbers(t *testing.T) {
	table := inoTable{root: 10}
	seen := map[uint64][2]uint64{}
	for dev := uint64(10); dev < 14; dev++ {
		for _, ino := range []uint64{1, 2, 1<<48 - 1, 1 << 48, 1 << 63, 1<<64 - 1} {
			got := table.ino(dev, ino)
			if other, twice := seen[got]; twice {
				t.Errorf("%d:%d and %v are both %d", dev, ino, other, got)
			}
			seen[got] = [2]uint64{dev, ino}
			if again := table.ino(dev, ino); again != got {
				t.Errorf("%d:%d is %d, then %d", dev, ino, got, again)
			}
		}
	}
	if got := table.ino(10, 5); got != 5 {
		t.Errorf("the root's 5 is %d", got)
	}
}

func TestIsLocal(t *testing.T) {
	for magic, want := range map[int64]bool{
		unix.EXT4_SUPER_MAGIC: true, unix.TMPFS_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.OVERLAYFS_SUPER_MAGIC: true,
		unix.NFS_SUPER_MAGIC: false, unix.FUSE_SUPER_MAGIC: false, unix.V9FS_MAGIC: false, unix.CEPH_SUPER_MAGIC: false, unix.CIFS_SUPER_MAGIC: false,
		int64(int32(-0xacb2be)): false, // CIFS where the type has 32 bits
	} {
		if got := isLocal(magic); got != want {
			t.Errorf("isLocal(%#x) = %v", magic, got)
		}
	}
}
