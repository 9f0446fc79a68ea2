// Package share mounts the host's shares in the guest: it finds or makes the descriptor
// that a share's relay speaks to the host through, mounts, and watches the relay.
//
// It is not for who uses a share, and not for FUSE itself, which package fusemount and
// the relay have.
//
// A share lives from Attach until what that returned is called. When its stream or its
// relay ends in between, the console tells, and the mount answers ENOTCONN. Shares is
// safe for concurrent use; detaching is for one caller at a time. The package is
// Linux-only.
package share
