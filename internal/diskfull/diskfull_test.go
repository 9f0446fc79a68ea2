package diskfull

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestIs(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("no space left on device"), false},
		{Number, true},
		{fmt.Errorf("save: %w", &fs.PathError{Op: "write", Path: "/x", Err: Number}), true},
		{errors.Join(errors.New("x"), Number), true},
		{fs.ErrNotExist, false},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EINVAL}, false},
	}
	for _, tt := range tests {
		if got := Is(tt.err); got != tt.want {
			t.Errorf("Is(%v) = %v", tt.err, got)
		}
	}
}
