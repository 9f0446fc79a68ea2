package card

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/share/posix"
)

// ModelOptions say how much to compare.
type ModelOptions struct {
	// Seed chooses the operations: the same seed, the same operations.
	Seed uint64
	// Steps is how many operations; after every few the trees are compared.
	Steps int
	// Dir and OracleDir are folders of the systems to work in; "" is the root.
	Dir, OracleDir string
}

// A Divergence is a sequence of operations, as lines of a script, after which two
// systems are not alike.
type Divergence struct {
	Seed      uint64
	Lines     []string // the shortest that was found
	Got, Want string   // of the last line, or of the trees after it
}

func (d *Divergence) String() string {
	return fmt.Sprintf("seed %d, %d operations:\n    %s\n  is   %s\n  want %s", d.Seed, len(d.Lines), strings.Join(d.Lines, "\n    "), d.Got, d.Want)
}

// CompareModel runs the same random operations on a system and on an oracle and compares
// results, errnos and, now and then, whole trees: types, owners, modes, link counts, sizes, content,
// extended attributes, times that were set. It returns nil when they are alike. A
// divergence is made as short as it can be.
func CompareModel(ctx context.Context, sys, oracle System, o ModelOptions) (*Divergence, error) {
	m := &comparer{sides: [2]side{{sys: sys, dir: o.Dir}, {sys: oracle, dir: o.OracleDir}}, seed: o.Seed}
	both := func(n Need) bool { return sys.Lacks(n) == "" && oracle.Lacks(n) == "" }
	m.mmap, m.special = both(NeedMmap), both(NeedSpecial)
	lines := m.generate(o.Steps)
	found, err := m.try(ctx, lines)
	if found == nil || err != nil {
		return nil, err
	}
	return m.shrink(ctx, found)
}

type side struct {
	sys System
	dir string
}

type comparer struct {
	sides         [2]side
	seed          uint64
	mmap, special bool
	runs          int
}

// each is how many operations there are between comparisons of trees.
const each = 20

// generate makes the operations.
func (m *comparer) generate(n int) []string {
	g := generator{r: rand.New(rand.NewPCG(m.seed, 0)), mmap: m.mmap, special: m.special}
	lines := []string{"chmod . 0777"}
	for len(lines) < n {
		lines = append(lines, g.line())
	}
	return lines
}

// try runs lines in new folders of both systems; nil when they were alike. The lines of
// what it returns end with the one that was not.
func (m *comparer) try(ctx context.Context, lines []string) (*Divergence, error) {
	m.runs++
	var scripts [2]*script
	for i, s := range m.sides {
		host, err := s.sys.Start(Cred{}, "")
		if err != nil {
			return nil, err
		}
		defer host.Exit()
		dir := path.Join(s.dir, fmt.Sprintf("model-%d-%d", m.seed, m.runs))
		if err := host.Mkdir(dir, 0o777); err != nil {
			return nil, fmt.Errorf("make the model's folder: %w", err)
		}
		defer func() { _ = RemoveAll(host, dir) }()
		scripts[i] = newScript(&run{s.sys, dir})
		defer scripts[i].close()
	}
	for i, text := range lines {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		l, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		got, want := outcomeOf(scripts[0], l), outcomeOf(scripts[1], l)
		if got != want {
			return &Divergence{m.seed, slices.Clone(lines[:i+1]), got, want}, nil
		}
		if i%each != each-1 && i != len(lines)-1 {
			continue
		}
		trees, err := m.trees(scripts)
		if err != nil {
			return nil, err
		}
		if got, want := differ(trees[0], trees[1]); got != want {
			return &Divergence{m.seed, slices.Clone(lines[:i+1]), got, want}, nil
		}
	}
	return nil, nil
}

// outcomeOf is what a line printed or its errno. A line that cannot be run, as one
// with a file that was not opened, is an outcome too.
func outcomeOf(s *script, l line) string {
	o, err := s.exec(l)
	if err != nil {
		if strings.HasPrefix(err.Error(), "no file") || strings.HasSuffix(err.Error(), "'s") {
			return "not open"
		}
		return err.Error()
	}
	return o.String()
}

// shrink leaves out what is not needed for the systems to part, larger parts first.
func (m *comparer) shrink(ctx context.Context, d *Divergence) (*Divergence, error) {
	for size := len(d.Lines) / 2; size > 0; {
		smaller := false
		for at := 0; at+size <= len(d.Lines) && m.runs < 2000; {
			less := slices.Concat(d.Lines[:at], d.Lines[at+size:])
			found, err := m.try(ctx, less)
			if err != nil {
				return d, err
			}
			if found != nil {
				d, smaller = found, true
			} else {
				at += size
			}
		}
		if !smaller || size > len(d.Lines) {
			size /= 2
		}
	}
	return d, nil
}

// trees describes all files of both systems, by path.
func (m *comparer) trees(scripts [2]*script) (out [2]map[string]string, err error) {
	for i, s := range scripts {
		a, err := s.proc("root")
		if err != nil {
			return out, err
		}
		out[i] = map[string]string{}
		if err := describe(a.Proc, ".", out[i]); err != nil {
			return out, fmt.Errorf("describe tree: %w", err)
		}
	}
	return out, nil
}

// differ returns the first difference of two trees.
func differ(got, want map[string]string) (string, string) {
	var names []string
	for n := range want {
		names = append(names, n)
	}
	for n := range got {
		if _, ok := want[n]; !ok {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if got[n] != want[n] {
			return n + " " + got[n], n + " " + want[n]
		}
	}
	return "", ""
}

// describe fills in a folder and all below it.
func describe(p Proc, dir string, out map[string]string) error {
	text, err := describeOne(p, dir)
	if err != nil {
		return err
	}
	out[dir] = text
	f, err := p.Open(dir, posix.O_RDONLY|posix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	all, err := entries(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	for _, e := range all {
		name := dir + "/" + e.Name
		switch {
		case e.Name == "." || e.Name == "..":
		case e.Type == posix.DT_DIR:
			err = describe(p, name, out)
		default:
			out[name], err = describeOne(p, name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// lastSet is the latest time that operations set: what is later is a clock's.
const lastSet = 1_000_000

func describeOne(p Proc, name string) (string, error) {
	a, err := p.Stat(name, true)
	if err != nil {
		return "", err
	}
	f := fields(a)
	text := fmt.Sprintf("%s %s %s:%s", f["type"], f["mode"], f["uid"], f["gid"])
	text += " nlink " + f["nlink"]
	// Looking at things moves atime; and what goes through a FIFO moves its mtime, which
	// over FUSE is not the server's.
	if a.Mtime.Sec <= lastSet && f["type"] != "fifo" {
		text += " mtime " + f["mtime"]
	}
	// A change of attributes or content moves ctime too, by the same clock.
	if a.Ctime.Sec < a.Mtime.Sec-1 && a.Mtime.Sec > lastSet {
		text += " ctime before mtime"
	}
	switch f["type"] {
	case "symlink":
		target, err := p.Readlink(name)
		return text + " " + target, err
	case "char", "block":
		return text + " " + f["rdev"], nil
	case "file":
		h, err := p.Open(name, posix.O_RDONLY, 0)
		if err != nil {
			return "", err
		}
		b, err := readAll(h)
		if err := errors.Join(err, h.Close()); err != nil {
			return "", err
		}
		if uint64(len(b)) != a.Size {
			text += fmt.Sprintf(" (%d bytes read)", len(b))
		}
		text += " size " + f["size"] + " " + digest(b)
	case "folder":
	default:
		return text, nil
	}
	names, err := p.Listxattr(name, posix.XATTR_LIST_MAX)
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	for _, n := range names {
		if strings.HasPrefix(n, "user.") {
			v, err := p.Getxattr(name, n, posix.XATTR_SIZE_MAX)
			if err != nil {
				return "", err
			}
			text += " " + n + "=" + strconv.Quote(string(v))
		}
	}
	return text, nil
}
