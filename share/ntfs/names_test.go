package ntfs

import (
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

var nameTable = []struct{ guest, host string }{
	{"plain", "plain"}, {"CON", "CON"}, {"aux.txt", "aux.txt"}, {"...", "..\uF02E"}, {"a ", "a\uF020"}, {" a.b", " a.b"},
	{`a\b:c*?"<>|`, "a\uF05Cb\uF03Ac\uF02A\uF03F\uF022\uF03C\uF03E\uF07C"}, {"\x01\x1f\x7f", "\uF001\uF01F\x7f"},
	{"\xff\xfe", "\uF0FF\uF0FE"}, {"ä", "ä"}, {"\uF041", "\uF0EF\uF081\uF081"}, {"\uF100", "\uF100"},
	{"\xED\xA0\x80", "\xED\xA0\x80"}, {"\xED\xA0\x80\xED\xB0\x80", "\xED\xA0\x80\uF0ED\uF0B0\uF080"}, {"😀", "😀"},
}

func TestNameTable(t *testing.T) {
	for _, c := range nameTable {
		host, err := hostName(c.guest)
		if err != nil || host != c.host {
			t.Errorf("hostName(%q) = %q, %v, want %q", c.guest, host, err, c.host)
		}
		if back := guestName(host); back != c.guest {
			t.Errorf("guestName(%q) = %q, want %q", host, back, c.guest)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "a\x00", strings.Repeat("a", 256)} {
		if _, err := hostName(bad); err == nil {
			t.Errorf("hostName(%q) is taken", bad)
		}
	}
}

// checkName: the name comes back through UTF-16, which NTFS takes.
func checkName(name string) bool {
	host, err := hostName(name)
	if err != nil {
		return len(name) == 0 || len(name) > 255 || name == "." || name == ".." || strings.ContainsAny(name, "/\x00")
	}
	units := ntapi.EncodeName(host)
	return len(units) <= 255 && guestName(ntapi.DecodeName(units)) == name && !strings.HasPrefix(host, hiddenPrefix)
}

func TestNamesAreBijective(t *testing.T) {
	if err := quick.Check(func(b []byte) bool { return checkName(string(b)) }, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
	if err := quick.Check(func(a, b string) bool {
		x, errA := hostName(a)
		y, errB := hostName(b)
		return errA != nil || errB != nil || (x == y) == (a == b)
	}, nil); err != nil {
		t.Error(err)
	}
}

func FuzzName(f *testing.F) {
	for _, c := range nameTable {
		f.Add(c.guest)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if !checkName(name) {
			t.Errorf("%q does not come back", name)
		}
	})
}

func FuzzHostName(f *testing.F) {
	f.Add("\uF000x")
	f.Add("a.")
	f.Add(strings.Repeat("€", 255))
	f.Fuzz(func(t *testing.T, host string) {
		host = ntapi.DecodeName(ntapi.EncodeName(host))
		name := guestName(host)
		if host != "" && !strings.ContainsAny(host, "/\x00") && host != "." && host != ".." && (name == "" || len(name) > 255 || strings.ContainsAny(name, "/\x00")) {
			t.Errorf("guestName(%q) = %q", host, name)
		}
	})
}

func TestGuestNamesOnNTFS(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	names := []string{"\xff\xfe", "a:b", "con", "dot.", "x\\y", "~", "\xED\xA0\x80"}
	for _, name := range names {
		f.file(f.dir, name, name)
	}
	for _, name := range names {
		if got := f.content(f.dir, name); got != name {
			t.Errorf("%q has %q", name, got)
		}
	}
	if got := f.names(f.dir); len(got) != len(names) {
		t.Errorf("names %q", got)
	}
}

func TestHostNamesWithoutPartnerHaveAliases(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	long := strings.Repeat("€", 200)
	for _, name := range []string{"trailing.", "\uF041", long, hiddenPrefix + "t1"} {
		f.hostFile(name, "content")
	}
	names := f.names(f.dir)
	if len(names) != 3 {
		t.Fatalf("names %q", names)
	}
	for _, name := range names {
		if len(name) > 255 || f.content(f.dir, name) != "content" {
			t.Errorf("alias %q", name)
		}
	}
	f.ok(f.dir.Rename(names[0], f.dir, "fine", 0))
	if got := f.content(f.dir, "fine"); got != "content" {
		t.Errorf("fine has %q", got)
	}
	f.missing(f.dir, "none#0123456789abcdef")
	_, _, err := f.dir.Lookup(".")
	f.wants(err, posix.EINVAL)
}

func TestXattrs(t *testing.T) {
	f := newFixture(t, ntfake.Config{})
	n := f.file(f.dir, "a", "")
	_, err := n.Getxattr("user.a")
	f.wants(err, posix.ENODATA)
	f.wants(n.Setxattr("user.a", []byte("1"), posix.XATTR_REPLACE), posix.ENODATA)
	f.ok(n.Setxattr("user.a", []byte("1"), posix.XATTR_CREATE))
	f.wants(n.Setxattr("user.a", []byte("1"), posix.XATTR_CREATE), posix.EEXIST)
	f.ok(n.Setxattr("user.A", nil, 0))
	f.ok(n.Setxattr(capability, []byte("cap"), 0))
	f.ok(n.Setxattr("trusted.t", []byte("t"), 0))
	names, err := n.Listxattr()
	f.ok(err)
	if d := cmp.Diff([]string{"user.a", "user.A", capability, "trusted.t"}, names); d != "" {
		t.Error(d)
	}
	got, err := n.Getxattr("user.a")
	f.ok(err)
	if string(got) != "1" {
		t.Errorf("user.a is %q", got)
	}
	f.wants(n.Setxattr("user.big", make([]byte, 65000), 0), 0)
	f.wants(n.Setxattr("user.more", make([]byte, 2000), 0), posix.ENOSPC)
	f.ok(n.Removexattr("user.big"))
	f.wants(n.Removexattr("user.big"), posix.ENODATA)
	f.wants(n.Setxattr("system.posix_acl_access", nil, 0), posix.EOPNOTSUPP)
	f.wants(n.Setxattr("user.containers.override_stat", nil, 0), posix.EPERM)
	_, err = n.Getxattr("user.containers.override_stat")
	f.wants(err, posix.ENODATA)
	_, err = n.Getxattr("user." + strings.Repeat("n", 255))
	f.wants(err, posix.ERANGE)
}

func FuzzXattrs(f *testing.F) {
	for _, list := range [][]xattr{nil, {{"user.a", []byte("v")}}, {{"user.a", nil}, {"user.A", []byte{0}}}} {
		b, err := encodeXattrs(list)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeXattrs(b)
		if err != nil || len(list) == 0 || len(b) > ntapi.MaxEAs {
			return
		}
		again, err := encodeXattrs(list)
		if err != nil || string(again) != string(b) {
			t.Errorf("%x becomes %x, %v", b, again, err)
		}
	})
}
