package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/porthole-run/porthole/guest/image"
)

// options are the flags.
type options struct {
	out, cache, agent, src string
	kernel                 image.Flavour
	updatePins             bool
	debugShell             bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts, err := parseFlags(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(ctx, opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkguest:", err)
		stop()
		os.Exit(1)
	}
}

func parseFlags(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("mkguest", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "", "`folder` of the bundle; replaced as a whole")
	f.StringVar(&o.cache, "cache", "", "`folder` for what is fetched and built")
	f.StringVar(&o.agent, "agent", "", "the porthole-agent `program`, a static ELF file; becomes the guest's /init")
	f.StringVar(&o.src, "src", filepath.Join("guest", "image"), "`folder` with pins.json, kernel.fragment, pause/ and relay/")
	kernel := f.String("kernel", string(image.Debian), "debian: Debian's cloud kernel; small: built from linux-source, takes minutes")
	f.BoolVar(&o.updatePins, "update-pins", false, "take what the archive has now and rewrite pins.json")
	f.BoolVar(&o.debugShell, "debug-shell", false, "put busybox into the guest")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.kernel = image.Flavour(*kernel)
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.out == "" || o.cache == "" || o.agent == "":
		return o, errors.New("--out, --cache and --agent are needed")
	case o.kernel != image.Debian && o.kernel != image.Small:
		return o, fmt.Errorf("--kernel %q is not known, want debian or small", *kernel)
	}
	var err error
	for _, dir := range []*string{&o.out, &o.cache, &o.agent, &o.src} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return o, err
		}
	}
	return o, nil
}

// run makes the bundle.
func run(ctx context.Context, o options) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the guest is amd64 and is built on amd64 only, this is %s", runtime.GOARCH)
	}
	pinFile := filepath.Join(o.src, "pins.json")
	pins, err := readPins(pinFile)
	if err != nil {
		return fmt.Errorf("%w (run from the repository's root, or give --src)", err)
	}
	agent, err := readAgent(ctx, o.agent)
	if err != nil {
		return err
	}
	if err := checkOut(o.out); err != nil {
		return err
	}
	log := newConsole(os.Stdout)
	c, err := openCache(o.cache, log)
	if err != nil {
		return err
	}
	defer c.close()
	apt := newArchive(filepath.Join(o.cache, "apt"), log)
	b := &builder{opts: o, log: log, cache: c, apt: apt, source: &source{
		apt: apt, cache: c, log: log, pins: pins, update: o.updatePins,
	}}
	if err := b.build(ctx, agent); err != nil {
		return err
	}
	if o.updatePins {
		// The other kernel flavour and the debug shell have pins too, so that
		// one run brings all of them up to date.
		if err := b.source.resolveAll(ctx); err != nil {
			return err
		}
		if err := writePins(pinFile, b.source.pins); err != nil {
			return err
		}
		log.say("wrote %s", pinFile)
	}
	bundle, err := image.Open(o.out)
	if err != nil {
		return err
	}
	log.say("done in %s", log.total())
	fmt.Fprintf(os.Stdout, "\n%s", bundle)
	return nil
}
