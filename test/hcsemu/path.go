package hcsemu

import (
	"path/filepath"
	"strings"
)

// Drives are the folders of Linux that stand for Windows' drives, by letter in lower case.
type Drives map[byte]string

// PrefixDrives are those of a Wine prefix.
func PrefixDrives(prefix string) Drives {
	return Drives{'c': filepath.Join(prefix, "drive_c"), 'z': "/"}
}

// Local is a path of Windows as one of Linux. What is none, or of a drive that is not
// there, stays as it is and so is not found.
func (d Drives) Local(path string) string {
	p := strings.TrimPrefix(path, `\\?\`)
	if len(p) < 3 || p[1] != ':' || p[2] != '\\' && p[2] != '/' {
		return path
	}
	root, ok := d[p[0]|0x20]
	if !ok {
		return path
	}
	return filepath.Join(root, filepath.Clean("/"+strings.ReplaceAll(p[3:], `\`, "/")))
}
