package ntapi

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// file is a Handle of the system. It is opened without FILE_SYNCHRONOUS_IO: calls on one
// handle run side by side, each waits for its own event.
type file struct {
	h windows.Handle // immutable
}

var _ Handle = (*file)(nil)

// OpenRoot opens a directory or file by a Win32 path, following links: the path is the
// host's own, not a guest's. What is opened from it follows none.
func OpenRoot(path string) (Handle, error) {
	if err := enablePrivileges("SeBackupPrivilege", "SeRestorePrivilege", "SeChangeNotifyPrivilege"); err != nil {
		return nil, err
	}
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	const access = AccessReadData | AccessReadAttributes | AccessReadEA | AccessTraverse | AccessSynchronize
	h, err := windows.CreateFile(p, access, ShareAll, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OVERLAPPED, 0)
	if err != nil {
		return nil, fmt.Errorf("open root: CreateFile: %w", err)
	}
	return &file{h}, nil
}

// enablePrivileges enables those of the process' token that it has; a token without them
// works within its rights.
func enablePrivileges(names ...string) error {
	var token windows.Token
	err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &token)
	if err != nil {
		return fmt.Errorf("enable privileges: OpenProcessToken: %w", err)
	}
	defer token.Close()
	for _, name := range names {
		n, err := windows.UTF16PtrFromString(name)
		if err != nil {
			return fmt.Errorf("enable %s: %w", name, err)
		}
		set := windows.Tokenprivileges{PrivilegeCount: 1}
		set.Privileges[0].Attributes = windows.SE_PRIVILEGE_ENABLED
		if err := windows.LookupPrivilegeValue(nil, n, &set.Privileges[0].Luid); err != nil {
			return fmt.Errorf("enable %s: LookupPrivilegeValue: %w", name, err)
		}
		err = windows.AdjustTokenPrivileges(token, false, &set, 0, nil, nil)
		if err != nil && !errors.Is(err, windows.ERROR_NOT_ALL_ASSIGNED) {
			return fmt.Errorf("enable %s: AdjustTokenPrivileges: %w", name, err)
		}
	}
	return nil
}

// Open is NtCreateFile.
func (f *file) Open(r OpenRequest) (Handle, bool, error) {
	const op = "NtCreateFile"
	var units []uint16
	if r.Options&OptionByID != 0 {
		id := le.AppendUint64(nil, r.ID.Low)
		if r.ID.High != 0 {
			id = le.AppendUint64(id, r.ID.High)
		}
		units = make([]uint16, len(id)/2)
		for i := range units {
			units[i] = le.Uint16(id[2*i:])
		}
	} else {
		units = EncodeName(r.Name)
	}
	if len(units) > 32767 {
		return nil, false, &Error{op, StatusObjectNameInvalid}
	}
	eas, err := EncodeEAs(r.EAs)
	if err != nil {
		return nil, false, err
	}
	name := windows.NTUnicodeString{
		Length: uint16(2 * len(units)), MaximumLength: uint16(2 * len(units)),
		Buffer: unsafe.SliceData(units),
	}
	oa := windows.OBJECT_ATTRIBUTES{
		Length:        uint32(unsafe.Sizeof(windows.OBJECT_ATTRIBUTES{})),
		RootDirectory: f.h,
		ObjectName:    &name,
		Attributes:    windows.OBJ_DONT_REPARSE,
	}
	if r.Options&OptionReparsePoint == 0 {
		oa.Attributes = 0 // the caller wants what a file system filter keeps behind its tag
	}
	var iosb windows.IO_STATUS_BLOCK
	var h windows.Handle
	err = windows.NtCreateFile(&h, r.Access|AccessSynchronize, &oa, &iosb, nil, r.Attributes, r.Share,
		r.Disposition, r.Options|OptionBackup, address(eas), uint32(len(eas)))
	keepAlive(eas)
	if err != nil {
		return nil, false, failed(op, err)
	}
	const created = 2 // FILE_CREATED
	return &file{h}, iosb.Information == created, nil
}

// Close is CloseHandle. What ReadChanges waits for ends with it.
func (f *file) Close() error {
	if err := windows.CloseHandle(f.h); err != nil {
		return &Error{"CloseHandle", StatusInvalidHandle}
	}
	return nil
}
