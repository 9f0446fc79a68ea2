package undo

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestFailed(t *testing.T) {
	cut := fmt.Errorf("the plugin ended with status 1: %w", errdefs.ErrInternal)
	for _, tt := range []struct {
		name  string
		err   error
		steps []error // of undoing, first done first
		want  string
	}{
		{"undone", cut, []error{nil}, "the plugin ended with status 1: internal"},
		{"another-reason", cut, []error{errors.New("it hangs")},
			"the plugin ended with status 1: internal (and it could not be undone: step 0: it hangs)"},
		{"same-reason", fmt.Errorf("attach network: %w", cut), []error{cut},
			"attach network: the plugin ended with status 1: internal (and it could not be undone: step 0: for the same reason)"},
		{"several", cut, []error{cut, errors.New("it hangs"), nil},
			"the plugin ended with status 1: internal (and it could not be undone: step 1: it hangs; step 0: for the same reason)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var u Stack
			for i, err := range tt.steps {
				u.Push(fmt.Sprint("step ", i), func(context.Context) error { return err })
			}
			got := Failed(tt.err, u.Run(t.Context(), time.Second))
			if got.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !errors.Is(got, errdefs.ErrInternal) {
				t.Errorf("%v has lost its kind", got)
			}
		})
	}
	if got := Failed(errors.New("a"), errors.Join(errors.New("b"), errors.Join(errors.New("b"), errors.New("c")))).Error(); got != "a (and it could not be undone: b; c)" {
		t.Errorf("joined errors: %s", got)
	}
}
