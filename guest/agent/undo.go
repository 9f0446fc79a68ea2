package agent

import (
	"context"
	"errors"
	"time"
)

// undoTime bounds the undoing of a failed call.
const undoTime = 30 * time.Second

// undo is a stack of steps that take back what was done.
type undo []func(ctx context.Context) error

func (u *undo) add(f func(ctx context.Context) error) { *u = append(*u, f) }

// run takes the steps back, last first, and joins what fails to cause.
func (u undo) run(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	errs := []error{cause}
	for i := len(u) - 1; i >= 0; i-- {
		if err := u[i](ctx); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return cause
	}
	return errors.Join(errs...)
}
