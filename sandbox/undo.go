package sandbox

import "fmt"

// notUndone adds to the error of an operation what kept it from being undone. The kind
// stays the error's own: that of the undoing says nothing about what was asked for.
func notUndone(err, undoing error) error {
	if undoing == nil {
		return err
	}
	return fmt.Errorf("%w (and it could not be undone: %v)", err, undoing)
}
