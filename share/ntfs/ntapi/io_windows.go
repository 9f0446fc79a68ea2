package ntapi

import (
	"errors"
	"unsafe"
)

// ReadAt is NtReadFile.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := call("NtReadFile", procReadFile, [][]byte{b}, func(r *request) []uintptr {
		r.offset = off
		return []uintptr{uintptr(f.h), uintptr(r.event), 0, 0, uintptr(unsafe.Pointer(&r.iosb)),
			address(b), uintptr(len(b)), uintptr(unsafe.Pointer(&r.offset)), 0}
	})
	if errors.Is(err, StatusEndOfFile) {
		return 0, nil
	}
	return n, err
}

// WriteAt is NtWriteFile.
func (f *file) WriteAt(b []byte, off int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return call("NtWriteFile", procWriteFile, [][]byte{b}, func(r *request) []uintptr {
		r.offset = off // all ones: FILE_WRITE_TO_END_OF_FILE
		return []uintptr{uintptr(f.h), uintptr(r.event), 0, 0, uintptr(unsafe.Pointer(&r.iosb)),
			address(b), uintptr(len(b)), uintptr(unsafe.Pointer(&r.offset)), 0}
	})
}

// Flush is NtFlushBuffersFileEx.
func (f *file) Flush(flags uint32) error {
	_, err := call("NtFlushBuffersFileEx", procFlushEx, nil, func(r *request) []uintptr {
		return []uintptr{uintptr(f.h), uintptr(flags), 0, 0, uintptr(unsafe.Pointer(&r.iosb))}
	})
	return err
}

func (f *file) control(op string, code uint32, in, out []byte) (int, error) {
	return call("NtFsControlFile("+op+")", procFsControl, [][]byte{in, out}, func(r *request) []uintptr {
		return []uintptr{uintptr(f.h), uintptr(r.event), 0, 0, uintptr(unsafe.Pointer(&r.iosb)), uintptr(code),
			address(in), uintptr(len(in)), address(out), uintptr(len(out))}
	})
}

// Reparse is FSCTL_GET_REPARSE_POINT.
func (f *file) Reparse() (Reparse, error) {
	b := make([]byte, reparseHead+maxReparseData)
	n, err := f.control("get reparse point", fsctlGetReparsePoint, nil, b)
	if err != nil {
		return Reparse{}, err
	}
	return decodeReparse(b[:n])
}

// SetReparse is FSCTL_SET_REPARSE_POINT.
func (f *file) SetReparse(v Reparse) error {
	b, err := encodeReparse(v)
	if err != nil {
		return err
	}
	_, err = f.control("set reparse point", fsctlSetReparsePoint, b, nil)
	return err
}

// DeleteReparse is FSCTL_DELETE_REPARSE_POINT.
func (f *file) DeleteReparse(tag uint32) error {
	b, err := encodeReparse(Reparse{Tag: tag})
	if err != nil {
		return err
	}
	_, err = f.control("delete reparse point", fsctlDeleteReparsePoint, b, nil)
	return err
}

// SetSparse is FSCTL_SET_SPARSE.
func (f *file) SetSparse() error {
	_, err := f.control("set sparse", fsctlSetSparse, nil, nil)
	return err
}

// ZeroData is FSCTL_SET_ZERO_DATA.
func (f *file) ZeroData(off, end int64) error {
	b := le.AppendUint64(le.AppendUint64(nil, uint64(off)), uint64(end))
	_, err := f.control("set zero data", fsctlSetZeroData, b, nil)
	return err
}

// AllocatedRanges is FSCTL_QUERY_ALLOCATED_RANGES.
func (f *file) AllocatedRanges(off, length int64) ([]Range, error) {
	var all []Range
	out := make([]byte, 16*256)
	for end := off + length; off < end; {
		in := le.AppendUint64(le.AppendUint64(nil, uint64(off)), uint64(end-off))
		n, err := f.control("query allocated ranges", fsctlAllocatedRanges, in, out)
		if err != nil && !errors.Is(err, StatusBufferOverflow) {
			return nil, err
		}
		got := decodeRanges(out[:min(n, len(out))])
		all = append(all, got...)
		if err == nil || len(got) == 0 {
			break
		}
		last := got[len(got)-1]
		off = last.Offset + last.Length
	}
	return all, nil
}

// List is NtQueryDirectoryFile with FileIdExtdDirectoryInformation.
func (f *file) List(restart bool) ([]DirEntry, error) {
	b := make([]byte, 64*1024)
	again := uintptr(0)
	if restart {
		again = 1
	}
	n, err := call("NtQueryDirectoryFile", procQueryDirectory, [][]byte{b}, func(r *request) []uintptr {
		return []uintptr{uintptr(f.h), uintptr(r.event), 0, 0, uintptr(unsafe.Pointer(&r.iosb)),
			address(b), uintptr(len(b)), classIDExtdDirectory, 0, 0, again}
	})
	if errors.Is(err, StatusNoMoreFiles) || errors.Is(err, StatusNoSuchFile) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeDirEntries(b[:n])
}

// ReadChanges is NtNotifyChangeDirectoryFileEx on the subtree. Between two calls the
// system keeps changes in a buffer of the first call's size.
func (f *file) ReadChanges(filter uint32, noted func()) ([]Change, error) {
	const op = "NtNotifyChangeDirectoryFileEx"
	b := make([]byte, 256*1024)
	n, err := callTaken(op, procNotifyDirectory, [][]byte{b}, func(r *request) []uintptr {
		return []uintptr{uintptr(f.h), uintptr(r.event), 0, 0, uintptr(unsafe.Pointer(&r.iosb)),
			address(b), uintptr(len(b)), uintptr(filter), 1, notifyExtended}
	}, noted)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, &Error{op, StatusNotifyEnumDir}
	}
	return decodeChanges(b[:n])
}
