// Command demo is what `make run` shows: it starts porthole with a registry on loopback
// that serves a sample image, and drives a pod with crictl from pull to removal. It
// prints each crictl line, what it answers, and how long it took.
//
//	demo run [-keep] -bin DIR -guest DIR -cache DIR
//	demo stop -bin DIR
//	demo registry -cache DIR      (started by run)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// options are the flags of all sub-commands.
type options struct {
	keep              bool
	bin, guest, cache string
	dir               string // where the demo's server lives
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("name what to do: run, stop or registry")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	var o options
	f.BoolVar(&o.keep, "keep", false, "leave the server and the registry running")
	f.StringVar(&o.bin, "bin", "out/bin", "folder of porthole and crictl")
	f.StringVar(&o.guest, "guest", "out/guest-debian", "folder of the guest bundle")
	f.StringVar(&o.cache, "cache", filepath.Join(os.TempDir(), "porthole-cache"), "folder for downloads")
	f.StringVar(&o.dir, "dir", "/var/lib/porthole-demo", "folder of the demo's server; short, since sockets are below it")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	for _, p := range []*string{&o.bin, &o.guest, &o.cache, &o.dir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	switch args[0] {
	case "run":
		return show(ctx, o)
	case "stop":
		return end(ctx, o)
	case "registry":
		return serveRegistry(ctx, o)
	}
	return fmt.Errorf("%q is not run, stop or registry", args[0])
}
