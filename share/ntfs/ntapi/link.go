package ntapi

const (
	lxSymlinkVersion = 2
	symlinkRelative  = 1
)

// A Link is what a symbolic link or a junction says.
type Link struct {
	Target   string // as stored: the substitute name of Windows' links
	Relative bool   // Windows' links: relative to the link's directory
}

// LxSymlink returns the reparse point of a symbolic link of WSL: the target's bytes as
// they are.
func LxSymlink(target string) Reparse {
	return Reparse{TagLxSymlink, append(le.AppendUint32(nil, lxSymlinkVersion), target...)}
}

// Symlink returns the reparse point of a symbolic link of Windows.
func Symlink(target string, relative bool) Reparse {
	name := appendUTF16(nil, target)
	flags := uint32(0)
	if relative {
		flags = symlinkRelative
	}
	b := le.AppendUint32(windowsNames(name), flags)
	return Reparse{TagSymlink, append(append(b, name...), name...)}
}

// Junction returns the reparse point of a mount point.
func Junction(target string) Reparse {
	name := appendUTF16(nil, target)
	b := windowsNames(name)
	le.PutUint16(b[4:], uint16(len(name)+2))
	return Reparse{TagMountPoint, append(append(append(append(b, name...), 0, 0), name...), 0, 0)}
}

// windowsNames returns the places of the substitute and the print name, equal ones.
func windowsNames(name []byte) []byte {
	b := make([]byte, 0, 12+2*len(name)+4)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint16(b, uint16(len(name)))
	b = le.AppendUint16(b, uint16(len(name)))
	return le.AppendUint16(b, uint16(len(name)))
}

// DecodeLink reads the target of a symbolic link of WSL or Windows or a junction. ok is
// false for other tags and for data that is none.
func DecodeLink(r Reparse) (l Link, ok bool) {
	b := r.Data
	switch r.Tag {
	case TagLxSymlink:
		if len(b) < 4 || le.Uint32(b) != lxSymlinkVersion {
			return Link{}, false
		}
		return Link{Target: string(b[4:])}, true
	case TagSymlink, TagMountPoint:
		head := 8
		if r.Tag == TagSymlink {
			head = 12
		}
		if len(b) < head {
			return Link{}, false
		}
		at, n := int(le.Uint16(b)), int(le.Uint16(b[2:]))
		if head+at+n > len(b) || n%2 != 0 {
			return Link{}, false
		}
		l.Target = decodeUTF16(b[head+at : head+at+n])
		l.Relative = r.Tag == TagSymlink && le.Uint32(b[8:])&symlinkRelative != 0
		return l, true
	}
	return Link{}, false
}
