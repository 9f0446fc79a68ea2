package writers

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	system  = "S-1-5-18"
	admins  = "S-1-5-32-544"
	users   = "S-1-5-32-545"
	alice   = "S-1-5-21-7-7-7-1001"
	creator = "S-1-3-0"

	full       = 0x1f01ff
	readAndRun = 0x1200a9
	modify     = 0x1301bf
)

func entry(id string, mask uint32) Entry { return Entry{Account: Account{ID: id}, Mask: mask} }

// ids are the SIDs of writers, with "!" after those that are wide and "*" after an owner.
func ids(found []Writer) string {
	var out []string
	for _, w := range found {
		id := w.ID
		if w.Wide {
			id += "!"
		}
		if w.Owns {
			id += "*"
		}
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

func TestACL(t *testing.T) {
	below := func(e Entry, files bool) Entry { e.InheritOnly, e.ToFiles = true, files; return e }
	// What a folder gets that an administrator makes below C:\ of a server: users may add
	// folders there, and files in folders there.
	fresh := ACL{Owner: Account{ID: admins}, Entries: []Entry{
		entry(system, full), entry(admins, full), entry(users, readAndRun), entry(users, appendData), entry(users, addFile),
		below(entry(creator, genericAll), true),
	}}
	closed := ACL{Owner: Account{ID: system}, Entries: []Entry{
		entry(system, full), entry(admins, genericAll), entry(users, readAndRun), entry(creator, full), below(entry("S-1-3-4", full), true),
		entry("S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464", full),
	}}
	with := func(e Entry) ACL {
		a := closed
		a.Entries = append(a.Entries[:len(a.Entries):len(a.Entries)], e)
		return a
	}
	for name, tt := range map[string]struct {
		acl  ACL
		role Role
		want string
	}{
		"fresh":            {fresh, Folder, users + "!"},
		"fresh above":      {fresh, Above, ""},
		"closed":           {closed, Folder, ""},
		"closed file":      {closed, File, ""},
		"owner":            {ACL{Owner: Account{ID: alice}}, File, alice + "*"},
		"owner above":      {ACL{Owner: Account{ID: alice}, Entries: []Entry{entry(alice, full)}}, Above, alice + "*"},
		"no list":          {ACL{Owner: Account{ID: system}, Null: true}, Folder, "S-1-1-0!"},
		"one":              {with(entry(alice, modify)), Folder, alice},
		"rename above":     {with(entry("S-1-5-11", modify)), Above, "S-1-5-11!"},
		"may add folders":  {with(entry(alice, appendData)), Folder, ""},
		"may append":       {with(entry(alice, appendData)), File, alice},
		"may delete":       {with(entry(alice, deleteChild)), Folder, alice},
		"generic write":    {with(entry(alice, genericWr)), Folder, alice},
		"may set the list": {with(entry(alice, writeDAC)), File, alice},
		"may take":         {with(entry(alice, writeOwner)), Above, alice},
		"new files":        {with(below(entry(alice, modify), true)), Folder, alice},
		"new folders":      {with(below(entry(alice, modify), false)), Folder, ""},
		"below above":      {with(below(entry(alice, modify), true)), Above, ""},
	} {
		if got := ids(tt.acl.Writers(tt.role)); got != tt.want {
			t.Errorf("%s: writers %q, want %q", name, got, tt.want)
		}
	}
}

func TestWindowsFix(t *testing.T) {
	up := filepath.Dir(t.TempDir())
	root := up
	for root != filepath.Dir(root) {
		root = filepath.Dir(root)
	}
	for _, tt := range []struct {
		w    Writer
		want string
	}{
		{Writer{Account: Account{ID: users}, Path: `C:\opt\cni\bin`}, `icacls "C:\opt\cni\bin" /inheritance:d; icacls "C:\opt\cni\bin" /remove:g *S-1-5-32-545`},
		{Writer{Account: Account{ID: alice}, Path: `C:\opt`, Role: Above, Owns: true}, `icacls "C:\opt" /setowner *S-1-5-32-544`},
		{Writer{Account: Account{ID: users}, Path: root, Role: Above}, "set network.conf_dir and network.plugin_dirs to folders on another drive"},
	} {
		if got := windowsFix(tt.w); got != tt.want {
			t.Errorf("fix of %+v = %q, want %q", tt.w, got, tt.want)
		}
	}
}

func TestMode(t *testing.T) {
	for name, tt := range map[string]struct {
		mode Mode
		role Role
		want string
	}{
		"root's":         {Mode{Mode: 0o755}, Folder, ""},
		"root's group's": {Mode{Mode: 0o775}, Folder, ""},
		"a group's":      {Mode{Mode: 0o775, GID: 7}, File, "gid 7"},
		"all may":        {Mode{Mode: 0o777}, Above, "others!"},
		"sticky":         {Mode{Mode: 0o777 | fs.ModeSticky, GID: 7}, Above, ""},
		"sticky itself":  {Mode{Mode: 0o777 | fs.ModeSticky}, Folder, "others!"},
		"a user's":       {Mode{Mode: 0o700, UID: 5}, Above, "uid 5*"},
	} {
		if got := ids(tt.mode.Writers(tt.role)); got != tt.want {
			t.Errorf("%s: writers %q, want %q", name, got, tt.want)
		}
	}
}

// TestLook: of a real folder, its files and those above it are looked at; what is below is not.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	if _, err := Look(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Look of a missing folder = %v, want not exist", err)
	}
	before, err := Look(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "sub", "deep"), 0o777); err != nil {
		t.Fatal(err)
	}
	if after, err := Look(dir); err != nil || len(after) != len(before) {
		t.Errorf("Look with a folder below = %v, %v, want %v", after, err, before)
	}
	for _, w := range before {
		if w.Role == File || w.Fix == "" {
			t.Errorf("Look of an empty folder has %+v", w)
		}
	}
}
