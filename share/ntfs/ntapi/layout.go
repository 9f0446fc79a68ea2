package ntapi

import (
	"encoding/binary"
	"errors"
	"strings"
)

var (
	le = binary.LittleEndian

	errLayout = errors.New("malformed information buffer")
)

// MaxEAs is the most bytes that all extended attributes of a file take, as EASize counts.
const MaxEAs = 65535

const (
	statLxSize      = 96
	dirEntrySize    = 88 // FILE_ID_EXTD_DIR_INFORMATION without its name
	changeSize      = 84 // FILE_NOTIFY_EXTENDED_INFORMATION without its name
	fullEASize      = 8
	getEASize       = 5
	reparseHead     = 8
	maxReparseData  = 16*1024 - reparseHead
	renameHead      = 20
	renameMinLength = 24
)

// decodeStatLx reads FILE_STAT_LX_INFORMATION.
func decodeStatLx(b []byte) (StatLx, error) {
	if len(b) < statLxSize {
		return StatLx{}, errLayout
	}
	q := func(at int) uint64 { return le.Uint64(b[at:]) }
	d := func(at int) uint32 { return le.Uint32(b[at:]) }
	return StatLx{
		ID:       FileID{Low: q(0)},
		Creation: Time(q(8)), Access: Time(q(16)), Write: Time(q(24)), Change: Time(q(32)),
		Allocation: int64(q(40)), EndOfFile: int64(q(48)),
		Attributes: d(56), ReparseTag: d(60), Links: d(64), // d(68): effective access
		LxFlags: d(72), UID: d(76), GID: d(80), Mode: d(84), Major: d(88), Minor: d(92),
	}, nil
}

// encodeBasic writes FILE_BASIC_INFORMATION.
func encodeBasic(v Basic) []byte {
	b := make([]byte, 0, 40)
	for _, t := range []Time{v.Creation, v.Access, v.Write, v.Change} {
		b = le.AppendUint64(b, uint64(t))
	}
	return append(le.AppendUint32(b, v.Attributes), 0, 0, 0, 0)
}

// encodeRename writes FILE_RENAME_INFORMATION or FILE_LINK_INFORMATION of 64-bit systems.
func encodeRename(flags uint32, root uint64, name string) []byte {
	b := make([]byte, renameHead, renameMinLength+2*len(name))
	le.PutUint32(b, flags)
	le.PutUint64(b[8:], root)
	b = appendUTF16(b, name)
	le.PutUint32(b[16:], uint32(len(b)-renameHead))
	for len(b) < renameMinLength {
		b = append(b, 0)
	}
	return b
}

// chain walks records that begin with the offset of the next one.
func chain(b []byte, head int, each func(rec []byte) error) error {
	for len(b) > 0 {
		if len(b) < head {
			return errLayout
		}
		next := int64(le.Uint32(b))
		if err := each(b); err != nil {
			return err
		}
		if next == 0 {
			return nil
		}
		if next < int64(head) || next > int64(len(b)) {
			return errLayout
		}
		b = b[next:]
	}
	return nil
}

// decodeDirEntries reads FILE_ID_EXTD_DIR_INFORMATION records.
func decodeDirEntries(b []byte) ([]DirEntry, error) {
	var all []DirEntry
	err := chain(b, dirEntrySize, func(b []byte) error {
		n := int64(le.Uint32(b[60:]))
		if n > int64(len(b)-dirEntrySize) {
			return errLayout
		}
		all = append(all, DirEntry{
			Name:       decodeUTF16(b[dirEntrySize : dirEntrySize+n]),
			ID:         FileID{le.Uint64(b[72:]), le.Uint64(b[80:])},
			Attributes: le.Uint32(b[56:]),
			ReparseTag: le.Uint32(b[68:]),
		})
		return nil
	})
	return all, err
}

// decodeChanges reads FILE_NOTIFY_EXTENDED_INFORMATION records.
func decodeChanges(b []byte) ([]Change, error) {
	var all []Change
	err := chain(b, changeSize, func(b []byte) error {
		n := int64(le.Uint32(b[80:]))
		if n > int64(len(b)-changeSize) {
			return errLayout
		}
		all = append(all, Change{
			Action:     le.Uint32(b[4:]),
			Name:       decodeUTF16(b[changeSize : changeSize+n]),
			ID:         FileID{Low: le.Uint64(b[64:])},
			Parent:     FileID{Low: le.Uint64(b[72:])},
			Attributes: le.Uint32(b[56:]),
		})
		return nil
	})
	return all, err
}

// EASize returns the bytes that an attribute takes of MaxEAs.
func EASize(e EA) int { return (fullEASize + len(e.Name) + 1 + len(e.Value) + 3) &^ 3 }

// EncodeEAs writes FILE_FULL_EA_INFORMATION records. Names have 1 to 254 bytes, values
// at most 65535: others are an error.
func EncodeEAs(eas []EA) ([]byte, error) {
	var b []byte
	for i, e := range eas {
		if len(e.Name) == 0 || len(e.Name) > 254 || len(e.Value) > MaxEAs || strings.IndexByte(e.Name, 0) >= 0 {
			return nil, &Error{"encode extended attribute", StatusEATooLarge}
		}
		next := 0
		if i < len(eas)-1 {
			next = EASize(e)
		}
		at := len(b)
		b = le.AppendUint32(b, uint32(next))
		b = append(b, 0, byte(len(e.Name)))
		b = le.AppendUint16(b, uint16(len(e.Value)))
		b = append(append(b, e.Name...), 0)
		b = append(b, e.Value...)
		for next > 0 && len(b)-at < next {
			b = append(b, 0)
		}
	}
	return b, nil
}

// DecodeEAs reads FILE_FULL_EA_INFORMATION records.
func DecodeEAs(b []byte) ([]EA, error) {
	var all []EA
	err := chain(b, fullEASize, func(b []byte) error {
		name, value := int(b[5]), int(le.Uint16(b[6:]))
		if fullEASize+name+1+value > len(b) {
			return errLayout
		}
		v := b[fullEASize+name+1:]
		all = append(all, EA{string(b[fullEASize : fullEASize+name]), v[:value:value]})
		return nil
	})
	return all, err
}

// encodeEANames writes FILE_GET_EA_INFORMATION records.
func encodeEANames(names []string) []byte {
	var b []byte
	for i, n := range names {
		size := (getEASize + len(n) + 1 + 3) &^ 3
		at := len(b)
		if i == len(names)-1 {
			b = le.AppendUint32(b, 0)
		} else {
			b = le.AppendUint32(b, uint32(size))
		}
		b = append(append(append(b, byte(len(n))), n...), 0)
		for len(b)-at < size {
			b = append(b, 0)
		}
	}
	return b
}

// encodeReparse writes REPARSE_DATA_BUFFER.
func encodeReparse(r Reparse) ([]byte, error) {
	if len(r.Data) > maxReparseData {
		return nil, &Error{"encode reparse point", StatusReparseDataInvalid}
	}
	b := le.AppendUint32(nil, r.Tag)
	b = le.AppendUint16(b, uint16(len(r.Data)))
	return append(append(b, 0, 0), r.Data...), nil
}

// decodeReparse reads REPARSE_DATA_BUFFER.
func decodeReparse(b []byte) (Reparse, error) {
	if len(b) < reparseHead || int(le.Uint16(b[4:])) > len(b)-reparseHead {
		return Reparse{}, errLayout
	}
	return Reparse{le.Uint32(b), b[reparseHead : reparseHead+int(le.Uint16(b[4:]))]}, nil
}

// decodeRanges reads FILE_ALLOCATED_RANGE_BUFFER records.
func decodeRanges(b []byte) []Range {
	var all []Range
	for ; len(b) >= 16; b = b[16:] {
		all = append(all, Range{int64(le.Uint64(b)), int64(le.Uint64(b[8:]))})
	}
	return all
}
