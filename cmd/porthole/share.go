package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/porthole-run/porthole/cmd/porthole/selftest"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/card"
	"github.com/porthole-run/porthole/share/client"
	"github.com/porthole-run/porthole/share/lock"
	"github.com/porthole-run/porthole/share/sharetest/memfs"
)

// errSelftest is of a folder that does not do as Linux does. What it does otherwise has
// been printed.
var errSelftest = errors.New("this folder does not behave as a Linux one")

func runShareSelftest(ctx context.Context, std stdio, args []string) (err error) {
	f := flags(std, "share selftest")
	seeds := f.Int("seeds", 20, "how many random `sequences` to compare with a model; 0: none")
	seed := f.Uint64("seed", 0, "the first sequence: the `number` that a failure names")
	rest, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	if *seeds < 0 {
		return usagef("share selftest: --seeds %d is less than none", *seeds)
	}
	dir, err := selftestFolder(rest[0])
	if err != nil {
		return err
	}
	// What is left when the backend cannot remove it, os.RemoveAll may.
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, name, err := openShare(dir)
	if err != nil {
		return fmt.Errorf("share selftest: %w", err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	sys, err := mountMiniature(ctx, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, selftest.EmptyShare(sys), sys.Close()) }()
	fmt.Fprintf(std.out, "testing %s in %s\n", name, dir)
	return shareSelftest(ctx, std.out, sys, name+" over share/client", *seed, *seeds)
}

// selftestFolder makes a folder of the test's own in one of the user's.
func selftestFolder(parent string) (string, error) {
	parent, err := filepath.Abs(parent)
	if err != nil {
		return "", err
	}
	switch st, err := os.Stat(parent); {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("share selftest: there is no folder %s", parent)
	case err != nil:
		return "", fmt.Errorf("share selftest: %w", err)
	case !st.IsDir():
		return "", fmt.Errorf("share selftest: %s is not a folder", parent)
	}
	dir, err := os.MkdirTemp(parent, "porthole-selftest-")
	if err != nil {
		return "", fmt.Errorf("share selftest: the folder must be writable: %w", err)
	}
	return dir, nil
}

// mountMiniature serves a backend to a guest's kernel in miniature.
func mountMiniature(ctx context.Context, b share.Backend) (*client.Kernel, error) {
	s, err := share.NewSession(share.Config{Backend: b, Locker: lock.New(lock.Limits{}).Session("selftest")})
	if err != nil {
		return nil, err
	}
	// The connection outlives an interrupt: what has been made is removed through it.
	return client.Mount(context.WithoutCancel(ctx), s)
}

// shareSelftest prints the card of a system, and how it compares with a model in memory.
func shareSelftest(ctx context.Context, out io.Writer, sys card.System, name string, first uint64, seeds int) error {
	c := card.Run(ctx, sys, card.Options{System: name, Exceptions: card.Exceptions})
	if err := c.Print(out); err != nil {
		return err
	}
	alike := c.OK()
	memory := memfs.New(memfs.Options{})
	defer memory.Close()
	model, err := mountMiniature(ctx, memory)
	if err != nil {
		return err
	}
	defer model.Close()
	same := 0
	for i := range uint64(seeds) {
		d, err := card.CompareModel(ctx, sys, model, card.ModelOptions{Seed: first + i, Steps: 300})
		if err != nil {
			return fmt.Errorf("share selftest: %w", err)
		}
		if d != nil {
			fmt.Fprintf(out, "  FAIL   random operations, %v\n", d)
			alike = false
			continue
		}
		same++
	}
	fmt.Fprintf(out, "  random       %3d/%d sequences as in a model\n", same, seeds)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !alike:
		return errSelftest
	}
	return nil
}
