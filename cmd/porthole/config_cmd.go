package main

import (
	"context"
	"fmt"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

func runConfigDefault(_ context.Context, io stdio, args []string) error {
	if _, err := parse(flags(io, "config default"), args, 0, 0); err != nil {
		return err
	}
	_, err := fmt.Fprint(io.out, config.DefaultText())
	return err
}

func runConfigCheck(_ context.Context, io stdio, args []string) error {
	f := flags(io, "config check")
	path := configFlag(f)
	rest, err := parse(f, args, 0, 1)
	if err != nil {
		return err
	}
	if len(rest) == 1 {
		if *path != "" {
			return usagef("%s: the file is given twice", f.Name())
		}
		*path = rest[0]
	}
	if _, err := config.Load(*path); err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.out, "the configuration is valid")
	return err
}
