package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/porthole-run/porthole/share/card"
)

type options struct {
	only, systems []string
	seeds, steps  int
	run, dir      string
}

// errFailed is a card that is not good. It has been printed.
var errFailed = errors.New("the card is not clean")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "posix: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	f := flag.NewFlagSet("posix", flag.ContinueOnError)
	only := f.String("only", "", "run the checks whose names have one of these `parts`")
	systems := f.String("systems", "", "check the systems whose names have one of these `parts`")
	f.IntVar(&o.seeds, "seeds", 10, "how many random sequences")
	f.IntVar(&o.steps, "steps", 300, "operations in each")
	f.StringVar(&o.run, "run", "", "check one folder with real calls, as the system of this `name`")
	f.StringVar(&o.dir, "dir", "", "the `folder` to work in")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.only, o.systems = split(*only), split(*systems)
	if o.run != "" {
		return runFolder(ctx, o)
	}
	base, err := workFolder(o.dir)
	if err != nil {
		return err
	}
	var bad []string
	for _, s := range all() {
		if len(o.systems) > 0 && !slices.ContainsFunc(o.systems, func(p string) bool { return strings.Contains(strings.ToLower(s.name), strings.ToLower(p)) }) {
			continue
		}
		err := s.check(ctx, s.name, base, o)
		if err != nil {
			bad = append(bad, s.name)
			if !errors.Is(err, errFailed) {
				fmt.Printf("%s: %v\n", s.name, err)
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(bad) > 0 {
		// What a failed check has made is left to be looked at.
		return fmt.Errorf("%w: %s (see %s)", errFailed, strings.Join(bad, ", "), base)
	}
	return errors.Join(ctx.Err(), os.RemoveAll(base))
}

func split(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
}

// workFolder makes a folder that other users may go into.
func workFolder(dir string) (string, error) {
	base, err := os.MkdirTemp(dir, "porthole-posix-")
	if err != nil {
		return "", err
	}
	return base, os.Chmod(base, 0o755)
}

// report runs the checks and the model on a system and prints what they came to.
func report(ctx context.Context, name string, sys card.System, oracle card.System, o options) error {
	c := card.Run(ctx, sys, card.Options{System: name, Only: o.only, Exceptions: card.Exceptions})
	if err := c.Print(os.Stdout); err != nil {
		return err
	}
	ok := c.OK()
	if oracle != nil && len(o.only) == 0 {
		alike := 0
		for seed := range uint64(o.seeds) {
			d, err := card.CompareModel(ctx, sys, oracle, card.ModelOptions{Seed: seed, Steps: o.steps})
			switch {
			case err != nil:
				return err
			case d != nil:
				fmt.Printf("  FAIL   random operations, %v\n", d)
				ok = false
			default:
				alike++
			}
		}
		fmt.Printf("  random       %3d/%d sequences of %d operations\n", alike, o.seeds, o.steps)
	}
	if !ok {
		return errFailed
	}
	return ctx.Err()
}
