//go:build !windows

package busyfile

func retry(do func() error) error { return do() }
