package ntfake

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/porthole-run/porthole/share/ntfs/ntapi"
)

// upcase is a volume's upper-case table: units of one to one only.
func upcase(s string) string {
	u := ntapi.EncodeName(s)
	for i, c := range u {
		if up := unicode.ToUpper(rune(c)); up <= 0xFFFF {
			u[i] = uint16(up)
		}
	}
	return ntapi.DecodeName(u)
}

// checkName refuses what NTFS keeps in no directory.
func checkName(s string) ntapi.Status {
	if n := len(ntapi.EncodeName(s)); n == 0 || n > 255 || s == "." || s == ".." {
		return ntapi.StatusObjectNameInvalid
	}
	for i := range len(s) {
		if s[i] < 0x20 || strings.IndexByte(`"*/:<>?\|`, s[i]) >= 0 {
			return ntapi.StatusObjectNameInvalid
		}
	}
	return ntapi.StatusSuccess
}

// find looks a name up as the directory's case flag says, and among aliases.
func (n *node) find(name string) *link {
	up := name
	if !n.caseFlag {
		up = upcase(name)
	}
	for _, l := range n.children {
		have := l.name
		if !n.caseFlag {
			have = upcase(have)
		}
		if have == up || l.short == up && l.short != "" {
			return l
		}
	}
	return nil
}

// add names a file in a directory.
func (v *Volume) add(dir, n *node, name string) *link {
	l := &link{name: name, parent: dir, node: n}
	if !v.cfg.NoShortNames {
		l.short = dir.alias(name)
	}
	at, _ := slices.BinarySearchFunc(dir.children, upcase(name), func(l *link, up string) int {
		return strings.Compare(upcase(l.name), up)
	})
	dir.children = slices.Insert(dir.children, at, l)
	n.links = append(n.links, l)
	v.touch(dir)
	n.change = v.now()
	return l
}

// remove takes a name away.
func (v *Volume) remove(l *link) {
	l.parent.children = slices.DeleteFunc(l.parent.children, func(o *link) bool { return o == l })
	l.node.links = slices.DeleteFunc(l.node.links, func(o *link) bool { return o == l })
	v.touch(l.parent)
	l.node.change = v.now()
	v.reap(l.node)
}

// alias makes an 8.3 name for one that is none.
func (n *node) alias(name string) string {
	base, ext := name, ""
	if dot := strings.LastIndexByte(name, '.'); dot > 0 {
		base, ext = name[:dot], name[dot+1:]
	}
	if plain(base) && plain(ext) && len(base) <= 8 && len(ext) <= 3 && upcase(name) == name {
		return ""
	}
	if plain(base) && plain(ext) && base != "" && len(base) <= 8 && len(ext) <= 3 && !n.caseFlag {
		return "" // only its case differs: NTFS keeps one name for both
	}
	short := squeeze(base)
	if len(short) > 6 {
		short = short[:6]
	}
	ext = squeeze(ext)
	if len(ext) > 3 {
		ext = ext[:3]
	}
	if ext != "" {
		ext = "." + ext
	}
	for i := 1; ; i++ {
		tail := fmt.Sprintf("~%d", i)
		s := short[:min(len(short), 8-len(tail))] + tail + ext
		if n.find(s) == nil {
			return s
		}
	}
}

func plain(s string) bool {
	return squeeze(s) == upcase(s)
}

// squeeze keeps the characters that an alias may have.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		r = unicode.ToUpper(r)
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-$", r) {
			return r
		}
		return -1
	}, s)
}

// resolve finds a path of the volume as a program of the host would.
func (v *Volume) resolve(p string) (*link, error) {
	l := (*link)(nil)
	n := v.root
	for name := range strings.SplitSeq(strings.Trim(p, `\`), `\`) {
		if l = n.find(name); l == nil {
			return nil, &ntapi.Error{Op: "resolve " + p, Status: ntapi.StatusObjectNameNotFound}
		}
		n = l.node
	}
	return l, nil
}
