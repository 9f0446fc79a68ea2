package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// undo is a stack of steps that take back what an operation has done so far. The zero
// value is empty. It belongs to one operation: it is not safe for concurrent use.
type undo struct{ steps []undoStep }

type undoStep struct {
	name string // "detach network"
	run  func(context.Context) error
}

// push adds the step that takes back what was just done.
func (u *undo) push(name string, run func(context.Context) error) {
	u.steps = append(u.steps, undoStep{name, run})
}

// notUndone adds to the error of an operation what kept it from being undone. The kind
// stays the error's own: that of the undoing says nothing about what was asked for.
func notUndone(err, undoing error) error {
	if undoing == nil {
		return err
	}
	return fmt.Errorf("%w (and it could not be undone: %v)", err, undoing)
}

// run takes everything back, last done first, whether or not ctx has ended, within
// limit for each step. A step that fails does not keep the others from running; their
// errors are joined.
func (u *undo) run(ctx context.Context, limit time.Duration) error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		s := u.steps[i]
		stepCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
		if err := s.run(stepCtx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
		cancel()
	}
	u.steps = nil
	return errors.Join(errs...)
}
