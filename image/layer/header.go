package layer

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

const (
	xattrRecord = "SCHILY.xattr."
	opaqueXattr = "trusted.overlay.opaque"

	// maxFile is the largest file that the ext4 writer lays out right: its extent
	// tree goes wrong beyond one block of extents of 128 MiB each (hcsshim v0.15).
	maxFile = 339 * (128 << 20)
	// maxXattrs is a little less than what ext4 has room for beside an inode.
	maxXattrs = 3900

	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// makeHeader returns the header of an entry in normal form: a known type, a clean
// name, and no records but the extended attributes that an image may bring.
func makeHeader(h *tar.Header, name string) (*tar.Header, error) {
	out := &tar.Header{
		Typeflag: h.Typeflag,
		Name:     name,
		Mode:     h.Mode & 0o7777,
		Uid:      h.Uid,
		Gid:      h.Gid,
		ModTime:  clampTime(h.ModTime),
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid > math.MaxUint32 || h.Gid > math.MaxUint32 {
		return nil, errors.New("owner is out of range")
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		out.Typeflag = tar.TypeReg
		out.Size = h.Size
		if h.Size > maxFile {
			return nil, fmt.Errorf("file of %d bytes is larger than %d", h.Size, int64(maxFile))
		}
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeSymlink:
		out.Linkname = h.Linkname
		if h.Linkname == "" || len(h.Linkname) > maxPath || strings.IndexByte(h.Linkname, 0) >= 0 {
			return nil, errors.New("target of the symbolic link is empty or too long")
		}
	case tar.TypeChar, tar.TypeBlock:
		out.Devmajor, out.Devminor = h.Devmajor, h.Devminor
		if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
			return nil, errors.New("device number is out of range")
		}
	default:
		return nil, fmt.Errorf("entries of type %q are not supported", h.Typeflag)
	}
	total := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		value, ok, err := imageXattr(name, value)
		if err != nil {
			return nil, fmt.Errorf("extended attribute %q: %w", name, err)
		}
		if !ok {
			continue
		}
		if total += len(name) + len(value); len(name) > maxComponent || total > maxXattrs {
			return nil, errors.New("extended attributes do not fit into an inode")
		}
		setXattr(out, name, value)
	}
	setTimes(out, h)
	return out, nil
}

// setTimes keeps what the tar says beyond whole seconds; the plain format, which is
// cheaper to write and read, cannot.
func setTimes(out, h *tar.Header) {
	if h.ModTime.Nanosecond() == 0 && h.AccessTime.IsZero() && h.ChangeTime.IsZero() {
		return
	}
	out.Format = tar.FormatPAX
	if !h.AccessTime.IsZero() {
		out.AccessTime = clampTime(h.AccessTime)
	}
	if !h.ChangeTime.IsZero() {
		out.ChangeTime = clampTime(h.ChangeTime)
	}
}

// clampTime keeps times within what ext4 can hold.
func clampTime(t time.Time) time.Time {
	const first, last = -0x80000000, 0x37fffffff
	switch {
	case t.IsZero():
		return time.Unix(0, 0)
	case t.Unix() < first:
		return time.Unix(first, 0)
	case t.Unix() > last:
		return time.Unix(last, 0)
	}
	return t
}

func setXattr(h *tar.Header, name, value string) {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[xattrRecord+name] = value
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

// rooted moves a header in normal form to where the image's root is.
func rooted(h *tar.Header) *tar.Header {
	out := *h
	out.Name = Root + "/" + h.Name
	if h.Typeflag == tar.TypeLink {
		out.Linkname = Root + "/" + h.Linkname
	}
	return &out
}

// linkHeader is a hard link in normal form.
func linkHeader(name, target string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

// whiteoutHeader is a whiteout as overlayfs knows it.
func whiteoutHeader(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeChar, Name: name, ModTime: time.Unix(0, 0)}
}

// folderHeader is the header of a folder from all that was said of it.
func folderHeader(n *node) *tar.Header {
	h := &tar.Header{Mode: 0o755, ModTime: time.Unix(0, 0)} // a folder without an entry
	if n.file.header != nil {
		c := *n.file.header
		h = &c
	}
	h.Typeflag = tar.TypeDir
	h.Name = n.path() + "/"
	if n.file.opaque {
		records := map[string]string{xattrRecord + opaqueXattr: "y"}
		for k, v := range h.PAXRecords {
			records[k] = v
		}
		h.PAXRecords = records
	}
	return h
}
