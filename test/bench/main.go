package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/porthole-run/porthole/test/registry/debimage"
)

// options are the flags.
type options struct {
	n, pulls, pods    int
	bin, guest, cache string
	pauseSource       string
	write             string  // document to rewrite; empty: none
	fetch             bool    // only fill the cache
	share             bool    // measure shares instead
	density           bool    // measure many idle pods instead
	long              bool    // measure also what takes minutes
	only              string  // parts of a run, by commas; empty: all
	maxPods           int     // with density
	budget            float64 // of memory with density, in GiB; 0: half of what is free
	small, debian     string  // folders of the guest bundles by kernel, of which boots are compared
	fleet             bool    // measure the daemon alone instead, with many pods
	calls             int     // samples of each call then
	relaySource       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.n, "n", 10, "samples of each step, per runtime")
	f.IntVar(&o.pulls, "pulls", 3, "samples of the pull, per runtime")
	f.IntVar(&o.pods, "pods", 5, "idle pods whose memory is read, per runtime")
	f.StringVar(&o.bin, "bin", "out/bin", "folder of porthole")
	f.StringVar(&o.guest, "guest", "out/guest-debian", "folder of the guest bundle")
	f.StringVar(&o.cache, "cache", filepath.Join(os.TempDir(), "porthole-cache"), "folder for downloads")
	f.StringVar(&o.pauseSource, "pause", "guest/image/pause/pause.c", "source of the peer's pause process")
	f.StringVar(&o.write, "write", "", "document whose generated part is rewritten")
	f.BoolVar(&o.fetch, "fetch", false, "only fetch the packages that images are built from, with -only those of its parts, which needs the machine's network")
	f.BoolVar(&o.share, "share", false, "measure host folders in a VM, against the pod's own disk and 9P")
	f.BoolVar(&o.fleet, "fleet", false, "measure the daemon's calls and memory with many pods that have no VM")
	f.BoolVar(&o.density, "density", false, "measure memory and idle CPU of many pods")
	f.IntVar(&o.maxPods, "max-pods", 60, "pods at most with -density")
	f.Float64Var(&o.budget, "budget", 0, "GiB that all pods may hold with -density; 0: half of what is free")
	f.BoolVar(&o.long, "long", false, "pull a layer of a million entries too")
	f.StringVar(&o.only, "only", "", "only these parts of the run, by commas: "+strings.Join(stages, ", "))
	f.IntVar(&o.calls, "calls", 500, "samples of each call with -fleet")
	f.StringVar(&o.relaySource, "relay", "guest/image/relay/relay.c", "source of the relay that runs in a container")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("%q is no option", f.Arg(0))
	}
	if o.n < 1 || o.pulls < 1 || o.pods < 1 || o.calls < 1 || o.maxPods < 1 || o.budget < 0 {
		return o, errors.New("-n, -pulls, -pods, -calls and -max-pods must be at least 1, -budget at least 0")
	}
	if o.only != "" && o.write != "" {
		return o, errors.New("-write is for a whole run, not with -only")
	}
	for _, name := range strings.Split(o.only, ",") {
		if o.only != "" && !slices.Contains(stages, name) {
			return o, fmt.Errorf("-only has %q, which is none of %s", name, strings.Join(stages, ", "))
		}
	}
	for _, p := range []*string{&o.bin, &o.guest, &o.cache} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return o, err
		}
		*p = abs
	}
	o.small, o.debian = filepath.Join(filepath.Dir(o.guest), "guest-small"), filepath.Join(filepath.Dir(o.guest), "guest-debian")
	return o, nil
}

// debs is where Debian packages are kept, apps where those of whole applications are.
func (o options) debs() string { return filepath.Join(o.cache, "debs") }
func (o options) apps() string { return filepath.Join(o.cache, "apps") }

func run(ctx context.Context, args []string) (err error) {
	if len(args) == 1 && args[0] == fleetServe {
		return serveFleet(ctx)
	}
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.fetch && o.share {
		return fetchShares(ctx, o)
	}
	if o.fetch && o.density {
		_, err := debimage.Sample(ctx, o.debs())
		return err
	}
	if o.fetch {
		return fromDebian.fetch(ctx, o)
	}
	if o.write != "" {
		// A document without markers is found out now, not after the run.
		if err := rewrite(o.write, func(old string) (string, error) { return o.replace(old, "") }, false); err != nil {
			return err
		}
	}
	var u undo
	defer func() { err = errors.Join(err, u.run()) }()
	begin := time.Now()
	text, err := o.measure(ctx, &u)
	if err != nil {
		return err
	}
	fmt.Print(text)
	fmt.Fprintf(os.Stderr, "measured in %.0f s\n", time.Since(begin).Seconds())
	if o.write == "" {
		return nil
	}
	return rewrite(o.write, func(old string) (string, error) { return o.replace(old, text) }, true)
}

// measure measures what the flags name, and returns the text for a document.
func (o options) measure(ctx context.Context, u *undo) (string, error) {
	if o.share {
		r, err := measureShares(ctx, o, u)
		if err != nil {
			return "", err
		}
		return r.markdown(), nil
	}
	if o.fleet {
		r, err := measureFleet(ctx, o, u)
		if err != nil {
			return "", err
		}
		return r.markdown(), nil
	}
	if o.density {
		r, err := measureDensity(ctx, o, u)
		if err != nil {
			return "", err
		}
		return r.markdown(), nil
	}
	r, err := measure(ctx, o, u)
	if err != nil {
		return "", err
	}
	return r.markdown(), nil
}

// undo is a stack of steps that take down what a run made.
type undo []func() error

func (u *undo) add(step func() error) { *u = append(*u, step) }

// run takes the steps, the last first. A step that fails does not keep the others.
func (u *undo) run() error {
	var errs []error
	for len(*u) > 0 {
		last := len(*u) - 1
		step := (*u)[last]
		*u = (*u)[:last]
		errs = append(errs, step())
	}
	return errors.Join(errs...)
}
