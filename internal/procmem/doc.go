// Package procmem tells how much of the host's memory a process holds, and how much there
// is left. It has no state.
package procmem
