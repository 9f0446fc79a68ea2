package selftest

import (
	"errors"

	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/posix"
)

// EmptyShare removes what checks have left in a share, by the names that they used: the host's own
// tools may not take all of these.
func EmptyShare(sys card.System) error {
	p, err := sys.Start(card.Cred{}, "")
	if err != nil {
		return err
	}
	defer p.Exit()
	f, err := p.Open(".", posix.O_RDONLY|posix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	var names []string
	for {
		some, err := f.Readdir()
		if err != nil || len(some) == 0 {
			err = errors.Join(err, f.Close())
			for _, name := range names {
				err = errors.Join(err, card.RemoveAll(p, name))
			}
			return err
		}
		for _, e := range some {
			if e.Name != "." && e.Name != ".." {
				names = append(names, e.Name)
			}
		}
	}
}
