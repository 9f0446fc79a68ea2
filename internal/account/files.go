package account

import (
	"bytes"
	"fmt"

	"github.com/containerd/errdefs"
)

// Files are an image's passwd and group files. One that the image has not is empty.
type Files struct {
	Passwd, Group []byte
}

// Resolve is the function Resolve on f.
func (f Files) Resolve(req Request) (Identity, error) {
	return Resolve(req, bytes.NewReader(f.Passwd), bytes.NewReader(f.Group))
}

// Check returns an InvalidArgument error for what Resolve never returns: it is for an
// identity that came over a wire.
func (id Identity) Check() error {
	switch n := len(id.Groups); {
	case id.UID > maxID || id.GID > maxID: // further groups may be, where they were asked for
		return fmt.Errorf("ids %d and %d: one is above %d: %w", id.UID, id.GID, maxID, errdefs.ErrInvalidArgument)
	case n == 0 || id.Groups[0] != id.GID:
		return fmt.Errorf("the group %d is not the first of all groups: %w", id.GID, errdefs.ErrInvalidArgument)
	case n > maxGroups:
		return fmt.Errorf("%d groups: more than %d: %w", n, maxGroups, errdefs.ErrInvalidArgument)
	case id.Home == "" || len(id.Home) > maxLine:
		return fmt.Errorf("home of %d bytes: %w", len(id.Home), errdefs.ErrInvalidArgument)
	}
	return nil
}
