package undo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Failed adds to the error of an operation what kept it from being undone, which may be
// nil. The kind stays the error's own: that of the undoing says nothing about what was
// asked for. What the error says already, mostly the same failure once more, is not said
// again.
func Failed(err, undoing error) error {
	if undoing == nil {
		return err
	}
	said := err.Error()
	var steps []string
	for _, step := range leaves(undoing) {
		text := step.Error()
		if cause := errors.Unwrap(step); cause != nil && strings.HasSuffix(text, cause.Error()) && strings.Contains(said, cause.Error()) {
			text = strings.TrimSuffix(text, cause.Error()) + "for the same reason"
		}
		if !slices.Contains(steps, text) {
			steps = append(steps, text)
		}
	}
	return fmt.Errorf("%w (and it could not be undone: %s)", err, strings.Join(steps, "; "))
}

// leaves are the errors that were joined.
func leaves(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, leaves(e)...)
	}
	return out
}
