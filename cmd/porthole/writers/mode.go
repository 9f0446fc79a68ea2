package writers

import (
	"fmt"
	"io/fs"
)

// Mode is what POSIX systems say of a file or folder.
type Mode struct {
	Mode     fs.FileMode
	UID, GID uint32
}

// Writers are those who may change what has that mode, beside root. What is in a folder
// with the sticky bit is its own owner's to change.
func (m Mode) Writers(role Role) []Writer {
	var out []Writer
	if m.UID != 0 {
		out = append(out, Writer{Account: Account{ID: fmt.Sprint("uid ", m.UID)}, Owns: true})
	}
	if role == Above && m.Mode&fs.ModeSticky != 0 {
		return out
	}
	if m.Mode&0o020 != 0 && m.GID != 0 {
		out = append(out, Writer{Account: Account{ID: fmt.Sprint("gid ", m.GID)}})
	}
	if m.Mode&0o002 != 0 {
		out = append(out, Writer{Account: Account{ID: "others", Name: "everyone", Wide: true}})
	}
	return out
}

func posixFix(w Writer) string {
	if w.Owns {
		return "chown root '" + w.Path + "'"
	}
	return "chmod go-w '" + w.Path + "'"
}
