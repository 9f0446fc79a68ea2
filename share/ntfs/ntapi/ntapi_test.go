package ntapi

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/share/posix"
)

func TestStatusErrno(t *testing.T) {
	for _, c := range []struct {
		status Status
		want   posix.Errno
	}{
		{StatusSuccess, 0},
		{StatusObjectNameNotFound, posix.ENOENT}, {StatusObjectPathNotFound, posix.ENOENT}, {StatusDeletePending, posix.ENOENT},
		{StatusObjectNameCollision, posix.EEXIST}, {StatusAccessDenied, posix.EACCES}, {StatusSharingViolation, posix.EBUSY},
		{StatusFileLockConflict, posix.EAGAIN}, {StatusDirectoryNotEmpty, posix.ENOTEMPTY}, {StatusFileIsADirectory, posix.EISDIR},
		{StatusNotADirectory, posix.ENOTDIR}, {StatusDiskFull, posix.ENOSPC}, {StatusQuotaExceeded, posix.EDQUOT},
		{StatusTooManyLinks, posix.EMLINK}, {StatusObjectNameInvalid, posix.EINVAL}, {StatusNotSameDevice, posix.EXDEV},
		{StatusUserMappedFile, posix.ETXTBSY}, {StatusCannotDelete, posix.EBUSY}, {StatusMediaWriteProtected, posix.EROFS},
		{StatusEAsNotSupported, posix.EOPNOTSUPP}, {StatusEATooLarge, posix.ENOSPC}, {StatusInsufficientResource, posix.ENOMEM},
		{StatusTooManyOpenedFiles, posix.ENFILE}, {StatusIODeviceError, posix.EIO}, {Status(0xC0001234), posix.EIO},
	} {
		if got := c.status.Errno(); got != c.want {
			t.Errorf("%v.Errno() = %v, want %v", c.status, got.Name(), c.want.Name())
		}
		if c.want == 0 {
			continue
		}
		err := fmt.Errorf("open: %w", &Error{"NtCreateFile", c.status})
		if got := posix.FromError(err); got != c.want || !errors.Is(err, c.want) || !errors.Is(err, c.status) {
			t.Errorf("FromError(%v) = %v, want %v", err, got, c.want)
		}
	}
}

func TestStatusNames(t *testing.T) {
	seen := map[string]Status{}
	for s, e := range statuses {
		if !strings.HasPrefix(e.name, "STATUS_") {
			t.Errorf("%#x has the name %q", uint32(s), e.name)
		}
		if other, twice := seen[e.name]; twice {
			t.Errorf("%#x and %#x have one name", uint32(s), uint32(other))
		}
		seen[e.name] = s
	}
	if got := Status(0xC0001234).String(); got != "NTSTATUS 0xC0001234" {
		t.Errorf("an unknown status is %q", got)
	}
}

func TestTime(t *testing.T) {
	for _, c := range []struct {
		sec  int64
		nsec uint32
	}{{0, 0}, {1, 100}, {-1, 999_999_900}, {1 << 32, 0}, {-epochSeconds + 1, 0}} {
		sec, nsec := TimeOf(c.sec, c.nsec).Unix()
		if sec != c.sec || nsec != c.nsec {
			t.Errorf("TimeOf(%d, %d) is back %d, %d", c.sec, c.nsec, sec, nsec)
		}
	}
	if _, nsec := TimeOf(5, 199).Unix(); nsec != 100 {
		t.Errorf("199 ns are kept as %d", nsec)
	}
	for _, far := range []int64{-1 << 62, -epochSeconds, 1 << 62} {
		if got := TimeOf(far, 0); got <= 0 {
			t.Errorf("TimeOf(%d) = %d, an order to SetBasic", far, got)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		units []uint16
		name  string
	}{
		{[]uint16{'a', 0xE4, 0x20AC}, "aä€"},
		{[]uint16{0xD83D, 0xDE00}, "😀"},
		{[]uint16{0xD800}, "\xED\xA0\x80"},
		{[]uint16{0xDC00, 0xD800, 'x'}, "\xED\xB0\x80\xED\xA0\x80x"},
	} {
		if got := DecodeName(c.units); got != c.name {
			t.Errorf("DecodeName(%x) = %q, want %q", c.units, got, c.name)
		}
		if got := EncodeName(c.name); !cmp.Equal(got, c.units) {
			t.Errorf("EncodeName(%q) = %x, want %x", c.name, got, c.units)
		}
	}
}

func TestEAs(t *testing.T) {
	eas := []EA{{"$LXUID", []byte{1, 2, 3, 4}}, {"A", []byte("odd")}, {"LAST", nil}}
	b, err := EncodeEAs(eas)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeEAs(b)
	if err != nil {
		t.Fatal(err)
	}
	eas[2].Value = []byte{}
	if d := cmp.Diff(eas, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []EA{{"", nil}, {strings.Repeat("a", 255), nil}, {"a\x00", nil}, {"A", make([]byte, MaxEAs+1)}} {
		if _, err := EncodeEAs([]EA{bad}); !errors.Is(err, StatusEATooLarge) {
			t.Errorf("EncodeEAs(%.10q) = %v", bad.Name, err)
		}
	}
}

func TestLinks(t *testing.T) {
	for _, c := range []struct {
		r    Reparse
		want Link
	}{
		{LxSymlink("a/b\xff"), Link{Target: "a/b\xff"}},
		{Symlink(`..\x`, true), Link{Target: `..\x`, Relative: true}},
		{Symlink(`\??\C:\x`, false), Link{Target: `\??\C:\x`}},
		{Junction(`\??\C:\share\d`), Link{Target: `\??\C:\share\d`}},
	} {
		b, err := encodeReparse(c.r)
		if err != nil {
			t.Fatal(err)
		}
		r, err := decodeReparse(b)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := DecodeLink(r)
		if !ok || got != c.want {
			t.Errorf("DecodeLink(%x) = %+v, %v, want %+v", c.r, got, ok, c.want)
		}
	}
	if _, ok := DecodeLink(Reparse{Tag: TagUnix}); ok {
		t.Error("a socket is a link")
	}
}

func TestLayouts(t *testing.T) {
	b := make([]byte, statLxSize)
	for i := range b {
		b[i] = byte(i)
	}
	st, err := decodeStatLx(b)
	if err != nil {
		t.Fatal(err)
	}
	if st.ID.Low != 0x0706050403020100 || st.EndOfFile != 0x3736353433323130 || st.Links != 0x43424140 ||
		st.LxFlags != 0x4B4A4948 || st.Minor != 0x5F5E5D5C {
		t.Errorf("FILE_STAT_LX_INFORMATION read as %+v", st)
	}
	if _, err := decodeStatLx(b[:95]); err == nil {
		t.Error("a short FILE_STAT_LX_INFORMATION is read")
	}
	r := encodeRename(RenamePosix, 0x1122334455667788, "ab")
	want := []byte{2, 0, 0, 0, 0, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 4, 0, 0, 0, 'a', 0, 'b', 0}
	if d := cmp.Diff(want, r); d != "" {
		t.Errorf("FILE_RENAME_INFORMATION: %s", d)
	}
	if got := encodeEANames([]string{"AB", "C"}); !cmp.Equal(got, []byte{8, 0, 0, 0, 2, 'A', 'B', 0, 0, 0, 0, 0, 1, 'C', 0, 0}) {
		t.Errorf("FILE_GET_EA_INFORMATION is %x", got)
	}
	if got := len(encodeBasic(Basic{Write: TimeHold})); got != 40 {
		t.Errorf("FILE_BASIC_INFORMATION has %d bytes", got)
	}
}

// FuzzDecode: what the system or a disk gives is read or refused, never a crash.
func FuzzDecode(f *testing.F) {
	eas, err := EncodeEAs([]EA{{"$LXUID", []byte{1, 2, 3, 4}}, {"B", []byte{1}}})
	if err != nil {
		f.Fatal(err)
	}
	link, err := encodeReparse(Symlink("x", true))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(eas)
	f.Add(link)
	f.Add(make([]byte, statLxSize))
	f.Add(append(le.AppendUint32(nil, 100), make([]byte, 200)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeStatLx(b)
		_, _ = decodeDirEntries(b)
		_, _ = decodeChanges(b)
		_ = decodeRanges(b)
		if all, err := DecodeEAs(b); err == nil {
			for _, e := range all {
				_ = EASize(e)
			}
		}
		if r, err := decodeReparse(b); err == nil {
			_, _ = DecodeLink(r)
		}
	})
}
