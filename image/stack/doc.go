// Package stack reads files of an image from its layers' disks on the host, as overlayfs
// in a guest shows them to a container that has not written yet.
//
// It is for a few small files, not for listing. What it tells is what the guest would find:
// where that is not certain, since the way there leads through what is odd, large, damaged or
// told by attributes of overlayfs that layers do not have, it says ErrUnsettled, and who wants
// to know has to look in a guest.
//
// A Stack is not safe for concurrent use. The disks are those of package layer: written by the
// host, and by nobody else.
package stack
