package main

import (
	"context"

	"github.com/porthole-run/porthole/sandbox/shim"
)

// runShim is the process of one VM. The daemon starts it; it is not for people.
func runShim(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "shim")
	dir := f.String("dir", "", "the shim's `folder`")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if *dir == "" {
		return usagef("%s: --dir is missing", f.Name())
	}
	return shim.Main(ctx, *dir, newDriver)
}
