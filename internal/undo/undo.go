// Package undo takes back what an operation has done so far when it cannot be finished.
package undo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Stack holds the steps that take an operation back. The zero value is empty. It belongs
// to one operation: it is not safe for concurrent use.
type Stack struct{ steps []step }

type step struct {
	name string // "detach network"
	run  func(context.Context) error
}

// Push adds the step that takes back what was just done. Its errors begin with name.
func (s *Stack) Push(name string, run func(context.Context) error) {
	s.steps = append(s.steps, step{name, run})
}

// Run takes everything back, last done first, whether or not ctx has ended, within limit
// for each step. A step that fails does not keep the others from running; their errors
// are joined. The stack is empty afterwards.
func (s *Stack) Run(ctx context.Context, limit time.Duration) error {
	var errs []error
	for len(s.steps) > 0 {
		last := s.steps[len(s.steps)-1]
		s.steps = s.steps[:len(s.steps)-1]
		stepCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		if err := last.run(stepCtx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", last.name, err))
		}
		cancel()
	}
	return errors.Join(errs...)
}
