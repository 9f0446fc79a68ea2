package arbiter

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/porthole-run/porthole/internal/offspring"
	"github.com/porthole-run/porthole/share"
)

// Exec returns a Start that runs a program as a process of its own, which must call
// Main. The goroutine that reaps it lives as long as it does.
func Exec(program string, args ...string) func(context.Context) error {
	return func(context.Context) error {
		p, err := offspring.Command{Path: program, Args: args, Stderr: os.Stderr}.Start() // which is its log
		if err != nil {
			return fmt.Errorf("start arbiter: %w", err)
		}
		go p.Wait()
		return nil
	}
}

// Chain names a share's root and the folders above it, as JoinConfig wants them. id says
// how the backend names a file.
func Chain(path string, id func(path string) (share.FileID, error)) ([]share.FileID, error) {
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, err
	}
	var chain []share.FileID
	for {
		f, err := id(path)
		if err != nil {
			return nil, err
		}
		chain = append(chain, f)
		up := filepath.Dir(path)
		if up == path {
			return chain, nil
		}
		path = up
	}
}
