package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/writers"
)

// maxWriters is how many of those who may write one row names.
const maxWriters = 4

// checkWriters looks who may change what CNI runs from: who can has programs run with the
// daemon's rights. Folders that are missing are for other rows to tell; without any there is
// none. Only an account that stands for many is a fault that fails: one of few may be meant.
func checkWriters(c config.Config, look func(dir string) ([]writers.Writer, error)) []finding {
	var dirs []string
	var found []writers.Writer
	for _, dir := range append([]string{c.Network.ConfDir}, c.Network.PluginDirs...) {
		if dir == "" || slices.Contains(dirs, dir) {
			continue
		}
		w, err := look(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return []finding{{Name: "cni access", Detail: fmt.Sprintf("who may change what is in %s is not known: %v", dir, err), Fix: startElevated}}
		}
		dirs, found = append(dirs, dir), append(found, w...)
	}
	if len(dirs) == 0 {
		return nil
	}
	f := finding{Name: "cni access", OK: true, Detail: "the system alone may change what is in " + strings.Join(dirs, ", ")}
	// Who stands for many is not to be left out.
	slices.SortStableFunc(found, func(a, b writers.Writer) int {
		switch {
		case a.Wide == b.Wide:
			return 0
		case a.Wide:
			return -1
		}
		return 1
	})
	var who, fixes []string
	for _, w := range found {
		how := "may change "
		if w.Owns {
			how = "owns "
		}
		text := w.String() + " " + how + w.Path
		if f.OK, f.Needed = false, f.Needed || w.Wide; slices.Contains(who, text) {
			continue
		}
		who = append(who, text)
		if len(who) <= maxWriters && !slices.Contains(fixes, w.Fix) {
			fixes = append(fixes, w.Fix)
		}
	}
	if f.OK {
		return []finding{f}
	}
	if n := len(who); n > maxWriters {
		who = append(who[:maxWriters], fmt.Sprintf("and %d more", n-maxWriters))
	}
	f.Detail = strings.Join(who, ", ") + ": the daemon runs what is there, with the rights of the system"
	f.Fix = strings.Join(fixes, "; ")
	return []finding{f}
}

// startElevated is the step where access cannot be read.
const startElevated = "run porthole doctor as root, or in an elevated prompt"
