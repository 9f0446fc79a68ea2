package ntapi

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

func keepAlive(b []byte) { runtime.KeepAlive(b) }

func (f *file) query(op string, class uint32, b []byte) (int, error) {
	var iosb windows.IO_STATUS_BLOCK
	err := windows.NtQueryInformationFile(f.h, &iosb, unsafe.SliceData(b), uint32(len(b)), class)
	return min(int(iosb.Information), len(b)), failed("NtQueryInformationFile("+op+")", err)
}

func (f *file) set(op string, class uint32, b []byte) error {
	var iosb windows.IO_STATUS_BLOCK
	err := windows.NtSetInformationFile(f.h, &iosb, unsafe.SliceData(b), uint32(len(b)), class)
	return failed("NtSetInformationFile("+op+")", err)
}

// Stat is FileStatLxInformation; where an id of 64 bits does not do (ReFS), the other
// one is asked for too.
func (f *file) Stat() (StatLx, error) {
	var b [statLxSize]byte
	n, err := f.query("stat lx", classStatLx, b[:])
	if err != nil {
		return StatLx{}, err
	}
	st, err := decodeStatLx(b[:n])
	if err != nil || st.ID.Low != ^uint64(0) {
		return st, err
	}
	var id [24]byte // volume serial number, then the id
	if _, err := f.query("id", classID, id[:]); err != nil {
		return StatLx{}, err
	}
	st.ID = FileID{le.Uint64(id[8:]), le.Uint64(id[16:])}
	return st, nil
}

// Path is FileNormalizedNameInformation.
func (f *file) Path() (string, error) {
	b := make([]byte, 4+2*1024)
	for {
		n, err := f.query("normalized name", classNormalizedName, b)
		if errors.Is(err, StatusBufferOverflow) && len(b) < 4+2*32768 {
			b = make([]byte, 4+2*32768)
			continue
		}
		if err != nil {
			return "", err
		}
		if n < 4 || int64(le.Uint32(b)) > int64(n-4) {
			return "", errLayout
		}
		return decodeUTF16(b[4 : 4+le.Uint32(b)]), nil
	}
}

// SetBasic is FileBasicInformation.
func (f *file) SetBasic(v Basic) error { return f.set("basic", classBasic, encodeBasic(v)) }

// Volume is FileFsVolumeInformation, FileFsAttributeInformation and
// FileFsFullSizeInformation.
func (f *file) Volume() (Volume, error) {
	var v Volume
	ask := func(op string, class uintptr, b []byte) (int, error) {
		return call("NtQueryVolumeInformationFile("+op+")", procQueryVolume, [][]byte{b}, func(r *request) []uintptr {
			return []uintptr{uintptr(f.h), uintptr(unsafe.Pointer(&r.iosb)), address(b), uintptr(len(b)), class}
		})
	}
	b := make([]byte, 1024)
	if _, err := ask("volume", classFsVolume, b); err != nil && !errors.Is(err, StatusBufferOverflow) {
		return v, err
	}
	v.Serial = uint64(le.Uint32(b[8:]))
	n, err := ask("attribute", classFsAttribute, b)
	if err != nil {
		return v, err
	}
	if n < 12 || int64(le.Uint32(b[8:])) > int64(n-12) {
		return v, errLayout
	}
	v.FileSystem = decodeUTF16(b[12 : 12+le.Uint32(b[8:])])
	if _, err := ask("full size", classFsFullSize, b); err != nil {
		return v, err
	}
	v.Units, v.CallerFree, v.Free = int64(le.Uint64(b)), int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:]))
	v.BytesPerUnit = int64(le.Uint32(b[24:])) * int64(le.Uint32(b[28:]))
	return v, nil
}

// SetDisposition is FileDispositionInformationEx.
func (f *file) SetDisposition(flags uint32) error {
	return f.set("disposition", classDispositionEx, le.AppendUint32(nil, flags))
}

// Rename is FileRenameInformationEx.
func (f *file) Rename(to Handle, name string, flags uint32) error {
	return f.name("rename", classRenameEx, to, name, flags)
}

// Link is FileLinkInformationEx.
func (f *file) Link(to Handle, name string, flags uint32) error {
	return f.name("link", classLinkEx, to, name, flags)
}

func (f *file) name(op string, class uint32, to Handle, name string, flags uint32) error {
	dir, ok := to.(*file)
	if !ok {
		return &Error{op, StatusInvalidParameter}
	}
	return f.set(op, class, encodeRename(flags, uint64(dir.h), name))
}

// EAs is NtQueryEaFile with a list of names.
func (f *file) EAs(names ...string) ([]EA, error) {
	list := encodeEANames(names)
	b := make([]byte, MaxEAs+1+len(names)*16)
	var iosb windows.IO_STATUS_BLOCK
	err := windows.NtQueryEaFile(f.h, &iosb, unsafe.SliceData(b), uint32(len(b)), false,
		unsafe.SliceData(list), uint32(len(list)), nil, true)
	if err != nil {
		err = failed("NtQueryEaFile", err)
		if errors.Is(err, StatusNoEAsOnFile) || errors.Is(err, StatusNonexistentEAEntry) {
			return nil, nil
		}
		return nil, err
	}
	all, err := DecodeEAs(b[:min(int(iosb.Information), len(b))])
	if err != nil {
		return nil, err
	}
	there := all[:0]
	for _, e := range all {
		if len(e.Value) > 0 { // one that is not there comes with no value
			there = append(there, e)
		}
	}
	return there, nil
}

// SetEAs is NtSetEaFile.
func (f *file) SetEAs(eas []EA) error {
	b, err := EncodeEAs(eas)
	if err != nil || len(b) == 0 {
		return err
	}
	var iosb windows.IO_STATUS_BLOCK
	return failed("NtSetEaFile", windows.NtSetEaFile(f.h, &iosb, unsafe.SliceData(b), uint32(len(b))))
}

// SetCaseSensitive is FileCaseSensitiveInformation.
func (f *file) SetCaseSensitive(on bool) error {
	flag := uint32(0)
	if on {
		flag = 1 // FILE_CS_FLAG_CASE_SENSITIVE_DIR
	}
	return f.set("case sensitive", classCaseSensitive, le.AppendUint32(nil, flag))
}

// SetEndOfFile is FileEndOfFileInformation.
func (f *file) SetEndOfFile(size int64) error {
	return f.set("end of file", classEndOfFile, le.AppendUint64(nil, uint64(size)))
}

// SetAllocation is FileAllocationInformation.
func (f *file) SetAllocation(size int64) error {
	return f.set("allocation", classAllocation, le.AppendUint64(nil, uint64(size)))
}
