// Package offspring starts processes that outlive the one that starts them: shims, and the arbiter
// of locks.
//
// A process that is killed while it starts another leaves that running, or not there at all: never one that was made
// and does not run. On Windows, making a process and letting it run are two steps of CreateProcess, both in
// the process that calls it; see start in start_windows.go.
package offspring

import (
	"fmt"
	"os"
)

// Command is what to start. It reads nothing, and has the environment and none of the handles of this process but
// those that are named.
type Command struct {
	Path           string     // of the program, absolute
	Args           []string   // without the program's name
	Dir            string     // where it starts; empty: where this process is
	Stdout, Stderr *os.File   // nil: what is written goes nowhere
	Files          []*os.File // further files, from descriptor 3 on; Windows has no such thing
}

// Start starts a process that signals to this process's session or console do not reach. Wait of what it
// returns must be called: it reaps the process whenever that ends.
func (c Command) Start() (*os.Process, error) {
	p, err := start(c)
	if err != nil {
		return nil, fmt.Errorf("start process %s: %w", c.Path, err)
	}
	return p, nil
}
