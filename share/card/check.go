package card

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/share"
)

// A Check is one named check.
type Check struct {
	Area   string // file of checks/ that it stands in
	Name   string // area/name, or area/name/variant
	Needs  []Need
	Script string
}

//go:embed checks/*.txt
var checkFiles embed.FS

// Checks returns all checks, by area and then in the order of their files.
var Checks = sync.OnceValue(func() []Check {
	var out []Check
	files, err := checkFiles.ReadDir("checks")
	if err != nil {
		panic(err) // the binary has them
	}
	for _, f := range files {
		text, err := checkFiles.ReadFile("checks/" + f.Name())
		if err != nil {
			panic(err)
		}
		checks, err := parseChecks(strings.TrimSuffix(f.Name(), path.Ext(f.Name())), string(text))
		if err != nil {
			panic(fmt.Sprintf("%s: %v", f.Name(), err)) // a test parses them all
		}
		out = append(out, checks...)
	}
	return out
})

// parseChecks reads a file of checks. Each begins with a line
//
//	== name [each VAR: word ...] [needs need ...]
//
// and is its script up to the next. With each there is one check for each word, which
// stands for $VAR; a word a=b is named a and stands for b. A word with several values for
// $VAR.1, $VAR.2 has them with commas between.
func parseChecks(area, text string) ([]Check, error) {
	var out []Check
	for _, block := range strings.Split("\n"+text, "\n== ")[1:] {
		head, script, _ := strings.Cut(block, "\n")
		var needs []Need
		head, list, _ := strings.Cut(head, " needs ")
		for _, n := range strings.Fields(list) {
			needs = append(needs, Need(n))
		}
		head, each, isEach := strings.Cut(head, " each ")
		name := strings.TrimSpace(head)
		if name == "" || strings.ContainsAny(name, " ") {
			return nil, fmt.Errorf("head %q", head)
		}
		if !isEach {
			out = append(out, Check{area, area + "/" + name, needs, script})
			continue
		}
		variable, list, ok := strings.Cut(each, ":")
		if !ok {
			return nil, fmt.Errorf("each %q", each)
		}
		for _, word := range strings.Fields(list) {
			label, value, ok := strings.Cut(word, "=")
			if !ok {
				value = word
			}
			s := script
			for i, v := range strings.Split(value, ",") {
				s = strings.ReplaceAll(s, fmt.Sprintf("$%s.%d", variable, i+1), v)
			}
			s = strings.ReplaceAll(s, "$"+variable, strings.ReplaceAll(value, "+", " "))
			out = append(out, Check{area, area + "/" + name + "/" + label, needs, s})
		}
	}
	seen := map[string]bool{}
	for _, c := range out {
		if seen[c.Name] {
			return nil, fmt.Errorf("check %s is there twice", c.Name)
		}
		seen[c.Name] = true
	}
	return out, nil
}

// Run runs the check in a folder of its own, below dir of a system, and returns what went
// otherwise than it says. It leaves the folder when it failed.
func (c Check) Run(sys System, dir string) (err error) {
	host, err := sys.Start(Cred{}, "")
	if err != nil {
		return err
	}
	defer host.Exit()
	dir = path.Join(dir, strings.NewReplacer("/", "_", " ", "_").Replace(c.Name))
	if err := host.Mkdir(dir, 0o777); err != nil {
		return fmt.Errorf("make the check's folder: %w", err)
	}
	s := newScript(&run{sys, dir})
	err = s.run(c.Script)
	s.close()
	if err != nil {
		return err
	}
	if err := RemoveAll(host, dir); err != nil {
		return fmt.Errorf("remove what the check has made: %w", err)
	}
	return nil
}

// RemoveAll removes a folder and all below it.
func RemoveAll(p Proc, dir string) error {
	f, err := p.Open(dir, openFlags["r"]|openFlags["dir"], 0)
	if err != nil {
		return err
	}
	all, err := entries(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b share.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range all {
		name := dir + "/" + e.Name
		switch {
		case e.Name == "." || e.Name == "..":
		case kindNames[e.Type<<12] == "folder":
			err = RemoveAll(p, name)
		default:
			err = p.Unlink(name)
		}
		if err != nil {
			return err
		}
	}
	return p.Rmdir(dir)
}
