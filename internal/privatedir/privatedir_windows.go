package privatedir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/porthole-run/porthole/internal/winowner"
)

// private is for SYSTEM and Administrators, handed down to files and folders below.
const private = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"

func makeDir(path string, _ fs.FileMode) error {
	sd, err := windows.SecurityDescriptorFromString(private)
	if err != nil {
		return err
	}
	path = filepath.Clean(path)
	// Who has one of the folders above can put another in the place of ours.
	for dir := path; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if err := winowner.CheckFile(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("others could change what is in folder %s: remove it, or make Administrators its owner (takeown /a): %w", dir, err)
		}
	}
	made, err := create(path, sd)
	if err != nil || made {
		return err
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	// What is below keeps entries of its own, such as a VM's.
	const protected = windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	if err := windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, protected, nil, nil, acl, nil); err != nil {
		return &fs.PathError{Op: "keep others from", Path: path, Err: err}
	}
	return nil
}

// create makes a folder with those above it, private from their first moment. It tells
// whether the folder was missing.
func create(path string, sd *windows.SECURITY_DESCRIPTOR) (bool, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return false, &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	sa := windows.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(sa))
	err = windows.CreateDirectory(name, &sa)
	if up := filepath.Dir(path); errors.Is(err, windows.ERROR_PATH_NOT_FOUND) && up != path {
		if _, err := create(up, sd); err != nil {
			return false, err
		}
		err = windows.CreateDirectory(name, &sa)
	}
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, windows.ERROR_ALREADY_EXISTS):
		return false, &fs.PathError{Op: "mkdir", Path: path, Err: err}
	}
	attrs, err := windows.GetFileAttributes(name)
	switch {
	case err != nil:
		return false, &fs.PathError{Op: "stat", Path: path, Err: err}
	case attrs&windows.FILE_ATTRIBUTE_REPARSE_POINT != 0:
		return false, fmt.Errorf("%s is a link or mount point: name the folder itself", path)
	case attrs&windows.FILE_ATTRIBUTE_DIRECTORY == 0:
		return false, &fs.PathError{Op: "mkdir", Path: path, Err: windows.ERROR_DIRECTORY}
	}
	return false, nil
}
