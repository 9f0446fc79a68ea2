// Package busyfile does again what Windows refuses while another process has a file open: to
// rename a file and to remove one. On other systems an open file is in nobody's way. It is not
// for files that stay open for long.
//
// Its function may be called from any goroutine, and has no state.
package busyfile

// Retry returns what do returns. On Windows it calls do again, for two seconds at most, while that
// says that access is denied or that another process has a file open without sharing it.
func Retry(do func() error) error { return retry(do) }
