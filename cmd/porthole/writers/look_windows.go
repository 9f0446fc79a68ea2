package writers

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/windows"
)

func look(path string, role Role) ([]Writer, error) {
	acl, err := readACL(path)
	if err != nil {
		return nil, err
	}
	return acl.Writers(role), nil
}

func fix(w Writer) string { return windowsFix(w) }

func readACL(path string) (ACL, error) {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return ACL{}, &fs.PathError{Op: "read access list of", Path: path, Err: err}
	}
	return fromDescriptor(sd)
}

func fromDescriptor(sd *windows.SECURITY_DESCRIPTOR) (ACL, error) {
	owner, _, err := sd.Owner()
	if err != nil {
		return ACL{}, fmt.Errorf("read owner: %w", err)
	}
	var out ACL
	if owner != nil {
		out.Owner = account(owner)
	}
	list, _, err := sd.DACL()
	if errors.Is(err, windows.ERROR_OBJECT_NOT_FOUND) || err == nil && list == nil {
		out.Null = true
		return out, nil
	}
	if err != nil {
		return ACL{}, fmt.Errorf("read access list: %w", err)
	}
	for i := range uint32(list.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &ace); err != nil {
			return ACL{}, fmt.Errorf("read entry %d of access list: %w", i, err)
		}
		const allowCallback = 0x9 // ACCESS_ALLOWED_CALLBACK_ACE_TYPE has its SID at the same place
		if t := ace.Header.AceType; t != windows.ACCESS_ALLOWED_ACE_TYPE && t != allowCallback {
			continue
		}
		out.Entries = append(out.Entries, Entry{
			Account:     account((*windows.SID)(unsafe.Pointer(&ace.SidStart))),
			Mask:        uint32(ace.Mask),
			InheritOnly: ace.Header.AceFlags&windows.INHERIT_ONLY_ACE != 0,
			ToFiles:     ace.Header.AceFlags&windows.OBJECT_INHERIT_ACE != 0,
		})
	}
	return out, nil
}

func account(sid *windows.SID) Account {
	a := Account{ID: sid.String()}
	if name, domain, _, err := sid.LookupAccount(""); err == nil {
		a.Name = name
		if domain != "" {
			a.Name = domain + `\` + name
		}
	}
	return a
}
