package writers

import (
	"path/filepath"
	"slices"

	"github.com/porthole-run/porthole/internal/winowner"
)

// ACL is what Windows says of a file or folder.
type ACL struct {
	Owner   Account
	Null    bool    // there is no list: everybody may do anything
	Entries []Entry // that allow something
}

// Entry allows an account what is in Mask, the access rights of winnt.h.
type Entry struct {
	Account
	Mask        uint32
	InheritOnly bool // it is for what is below
	ToFiles     bool // files that are made below get it
}

// Rights, of winnt.h. Those of files and of folders have the same numbers.
const (
	addFile     = 0x2     // FILE_ADD_FILE, FILE_WRITE_DATA
	appendData  = 0x4     // FILE_APPEND_DATA; of a folder, to make folders in it
	deleteChild = 0x40    // FILE_DELETE_CHILD
	remove      = 0x10000 // DELETE, by which a path can be renamed
	writeDAC    = 0x40000 // WRITE_DAC
	writeOwner  = 0x80000 // WRITE_OWNER
	genericAll  = 1 << 28 // GENERIC_ALL
	genericWr   = 1 << 30 // GENERIC_WRITE
	writeAttrs  = 0x100   // FILE_WRITE_ATTRIBUTES, by which an empty folder becomes a junction
	takesAll    = remove | writeDAC | writeOwner | genericAll
	changesFile = takesAll | addFile | appendData | genericWr
)

// changes are the rights by which each role is changed.
var changes = map[Role]uint32{
	Folder: takesAll | addFile | deleteChild | writeAttrs | genericWr,
	Above:  takesAll | deleteChild,
	File:   changesFile,
}

// wide are groups that stand for more than a few people.
var wide = []string{
	"S-1-1-0", "S-1-5-7", "S-1-5-11", "S-1-5-2", "S-1-5-4", // everyone, anonymous, who has logged on: at all, over the network, here
	"S-1-5-32-545", "S-1-5-32-546", "S-1-15-2-1", // users, guests, app packages
}

// Everyone is whom a missing list lets in.
var everyone = Account{ID: "S-1-1-0", Name: "Everyone", Wide: true}

// Writers are those who may change what has that list, beside SYSTEM, Administrators and
// TrustedInstaller; not the one who makes a file or has it (CREATOR OWNER, OWNER RIGHTS),
// who is among them as himself. Entries that deny are left out, which may name one too many.
func (a ACL) Writers(role Role) []Writer {
	if a.Null {
		return []Writer{{Account: everyone}}
	}
	var out []Writer
	add := func(who Account, owns bool) {
		if winowner.Trusted(who.ID) || slices.ContainsFunc(out, func(w Writer) bool { return w.ID == who.ID }) {
			return
		}
		who.Wide = slices.Contains(wide, who.ID)
		out = append(out, Writer{Account: who, Owns: owns})
	}
	add(a.Owner, true)
	for _, e := range a.Entries {
		mask := changes[role]
		if e.InheritOnly {
			if role != Folder || !e.ToFiles {
				continue
			}
			mask = changesFile
		}
		if e.Mask&mask != 0 && e.ID != "S-1-3-0" && e.ID != "S-1-3-4" {
			add(e.Account, false)
		}
	}
	return out
}

// windowsFix takes from the writer what he may, and keeps what others may.
func windowsFix(w Writer) string {
	path := `"` + w.Path + `"`
	switch {
	case w.Role == Above && w.Path == filepath.Dir(w.Path):
		return "set network.conf_dir and network.plugin_dirs to folders on another drive"
	case w.Owns:
		return "icacls " + path + " /setowner *S-1-5-32-544"
	}
	return "icacls " + path + " /inheritance:d; icacls " + path + " /remove:g *" + w.ID
}
