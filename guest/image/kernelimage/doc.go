// Package kernelimage reads what a Linux kernel package holds: it takes the
// kernel proper out of a bzImage, checks that a VM monitor can enter it
// directly (PVH), and reads the facts that a module states about itself.
//
// All inputs are bytes from a file that somebody else made; every offset and
// size in them is checked, and output sizes are bounded. Malformed input is
// an InvalidArgument error, well-formed input that the package cannot handle
// an Unimplemented one. It does not write, fetch or load anything.
//
// The functions keep no state and may be called from any goroutine.
package kernelimage
