package layer

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/porthole-run/porthole/image/layer/ext4"
)

const (
	xattrRecord = "SCHILY.xattr."
	opaqueXattr = "trusted.overlay.opaque"
	// originXattr without a value says of a folder that it may have whiteouts in it. Overlayfs
	// looks for them where folders of several layers are one; in a folder that one layer alone
	// has it would list their names (ovl_get_inode in fs/overlayfs/inode.c).
	originXattr = "trusted.overlay.origin"

	// maxXattrs is a little less than what ext4 has room for beside an inode.
	maxXattrs = 3900

	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// makeAttr checks an entry that is not a hard link, and returns what the file system is
// told of it: no extended attributes but those that an image may bring.
func makeAttr(h *tar.Header) (ext4.Attr, error) {
	a := ext4.Attr{
		Mode:  uint16(h.Mode & 0o7777),
		UID:   uint32(h.Uid),
		GID:   uint32(h.Gid),
		Mtime: ext4.MakeTime(h.ModTime),
		Atime: ext4.MakeTime(h.AccessTime),
		Ctime: ext4.MakeTime(h.ChangeTime),
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > math.MaxUint32 || h.Gid > math.MaxUint32 {
		return a, errors.New("owner is out of range")
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		if h.Size > ext4.MaxFile {
			return a, fmt.Errorf("file of %d bytes is larger than %d", h.Size, int64(ext4.MaxFile))
		}
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxPath || strings.IndexByte(h.Linkname, 0) >= 0 {
			return a, errors.New("target of the symbolic link is empty or too long")
		}
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
			return a, errors.New("device number is out of range")
		}
	default:
		return a, fmt.Errorf("entries of type %q are not supported", h.Typeflag)
	}
	total := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		value, ok, err := imageXattr(name, value)
		if err != nil {
			return a, fmt.Errorf("extended attribute %q: %w", name, err)
		}
		if !ok {
			continue
		}
		if total += len(name) + len(value); len(name) > maxComponent || total > maxXattrs {
			return a, errors.New("extended attributes do not fit into an inode")
		}
		setXattr(&a, name, value)
	}
	return a, nil
}

func setXattr(a *ext4.Attr, name, value string) {
	if a.Xattrs == nil {
		a.Xattrs = map[string]string{}
	}
	a.Xattrs[strings.Clone(name)] = strings.Clone(value)
}

// imageXattr says whether an attribute belongs into the file system and as what.
// Attributes of namespaces that ext4 has not are left out, as other runtimes do. So
// are overlayfs' own: they would let a layer redirect lookups in the layers below.
func imageXattr(name, value string) (string, bool, error) {
	ns, rest, _ := strings.Cut(name, ".")
	switch {
	case rest == "" || strings.IndexByte(name, 0) >= 0:
		return "", false, nil
	case ns == "user", ns == "security":
		return value, true, nil
	case ns == "trusted":
		return value, !strings.HasPrefix(rest, "overlay."), nil
	case name == "system.posix_acl_access", name == "system.posix_acl_default":
		v, err := ext4ACL(value)
		return v, true, err
	}
	return "", false, nil
}

// ext4ACL turns a POSIX ACL from the form of the xattr calls (version 2: tag,
// permissions and id in each entry) into what ext4 stores (version 1: an id only
// where the tag needs one).
func ext4ACL(v string) (string, error) {
	const tagUser, tagGroup = 0x02, 0x08
	le := binary.LittleEndian
	b := []byte(v)
	if len(b) < 4 || (len(b)-4)%8 != 0 || le.Uint32(b) != 2 {
		return "", errors.New("not a POSIX ACL")
	}
	out := le.AppendUint32(nil, 1)
	for b = b[4:]; len(b) > 0; b = b[8:] {
		out = append(out, b[:4]...)
		if tag := le.Uint16(b); tag == tagUser || tag == tagGroup {
			out = append(out, b[4:8]...)
		}
	}
	return string(out), nil
}
