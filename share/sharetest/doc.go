// Package sharetest mounts shares on this host, for tests and benchmarks of what serves
// them: through the host's own kernel and the relay of the guest, but without a VM.
//
// It is not for programs that are installed: it builds the relay from the source tree.
// Its functions are safe for concurrent use.
package sharetest
