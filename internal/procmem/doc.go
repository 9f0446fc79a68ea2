// Package procmem tells how much of the host's memory a process holds. It has no state.
package procmem
