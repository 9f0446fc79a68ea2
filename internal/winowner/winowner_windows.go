package winowner

import (
	"fmt"
	"io/fs"
	"slices"
	"unsafe"

	"golang.org/x/sys/windows"
)

// CheckFile returns an error that wraps fs.ErrPermission when the file or
// folder at path is of somebody who is not trusted.
func CheckFile(path string) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return &fs.PathError{Op: "read owner of", Path: path, Err: err}
	}
	if err := check(sd); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// CheckHandle is CheckFile for an open pipe, which needs READ_CONTROL.
func CheckHandle(h windows.Handle) error {
	sd, err := windows.GetSecurityInfo(h, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("read owner: %w", err)
	}
	return check(sd)
}

func check(sd *windows.SECURITY_DESCRIPTOR) error {
	owner, _, err := sd.Owner()
	if err != nil {
		return fmt.Errorf("read owner: %w", err)
	}
	if owner == nil {
		return fmt.Errorf("it has no owner: %w", fs.ErrPermission)
	}
	if Trusted(owner.String()) {
		return nil
	}
	own, err := ownSIDs()
	if err != nil {
		return fmt.Errorf("find own user: %w", err)
	}
	if !slices.ContainsFunc(own, owner.Equals) {
		return fmt.Errorf("it is of %s, who is neither SYSTEM nor an Administrator: %w", name(owner), fs.ErrPermission)
	}
	return nil
}

// ownSIDs are this process's user and the owner of what it makes, which may be a group.
func ownSIDs() ([]*windows.SID, error) {
	token := windows.GetCurrentProcessToken()
	user, err := token.GetTokenUser()
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 256) // a SID has 68 bytes at most
	var n uint32
	if err := windows.GetTokenInformation(token, windows.TokenOwner, &buf[0], uint32(len(buf)), &n); err != nil {
		return nil, err
	}
	owner, err := (*(**windows.SID)(unsafe.Pointer(&buf[0]))).Copy() // TOKEN_OWNER
	if err != nil {
		return nil, err
	}
	return []*windows.SID{user.User.Sid, owner}, nil
}

// name is an account's, else its SID.
func name(sid *windows.SID) string {
	account, domain, _, err := sid.LookupAccount("")
	if err != nil {
		return sid.String()
	}
	return domain + `\` + account + " (" + sid.String() + ")"
}
