package boot

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/porthole-run/porthole/guest/image/modlist"
)

// inGroup returns the modules of one group, in order.
func inGroup(list []modlist.Module, g modlist.Group) []modlist.Module {
	var out []modlist.Module
	for _, m := range list {
		if m.Group == g {
			out = append(out, m)
		}
	}
	return out
}

// resolveAlias returns the module that an alias file gives for what the kernel asked
// for, or the name itself. Dashes and underscores are the same.
func resolveAlias(r io.Reader, name string) (string, error) {
	name = strings.ReplaceAll(name, "-", "_")
	s := bufio.NewScanner(r)
	for s.Scan() {
		pattern, module, ok := strings.Cut(s.Text(), " ")
		if !ok {
			continue
		}
		if match, err := path.Match(pattern, name); err == nil && match {
			return module, nil
		}
	}
	if err := s.Err(); err != nil {
		return "", fmt.Errorf("read module aliases: %w", err)
	}
	return name, nil
}
