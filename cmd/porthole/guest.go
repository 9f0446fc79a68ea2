package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	guestimage "github.com/porthole-run/porthole/guest/image"
)

func runGuestInfo(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "guest info")
	path := configFlag(f)
	dir := f.String("bundle", "", "the bundle's `folder`; default: the configuration's")
	asJSON := f.Bool("json", false, "print the manifest")
	verify := f.Bool("verify", false, "compare the files with the manifest's digests")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if *dir != "" && *path != "" {
		return usagef("%s: --bundle and --config are given: one says where the bundle is", f.Name())
	}
	if *dir == "" {
		c, err := config.Load(*path)
		if err != nil {
			return err
		}
		*dir = c.VM.Bundle
	}
	b, err := guestimage.Open(*dir)
	if err != nil {
		return err
	}
	if *verify {
		if err := b.Verify(ctx); err != nil {
			return err
		}
	}
	if *asJSON {
		return json.NewEncoder(io.out).Encode(b.Manifest())
	}
	_, err = fmt.Fprint(io.out, b.String())
	return err
}
