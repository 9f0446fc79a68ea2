// Command hcsemud makes a Wine prefix with the emulator of package hcsemu behind it, and
// serves it until it is told to end. It is for trying things out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/porthole-run/porthole/test/hcsemu"
)

func main() {
	prefix := flag.String("prefix", "", "the `folder` of the Wine prefix, which is made, and removed in the end")
	cache := flag.String("cache", filepath.Join(os.TempDir(), "hcsemu"), "the `folder` where what is built is kept")
	network := flag.String("network", "", "a network of HNS to make: a `document` of HCN's schema 2")
	flag.Parse()
	if err := run(*prefix, *cache, *network); err != nil {
		fmt.Fprintln(os.Stderr, "hcsemud:", err)
		os.Exit(1)
	}
}

func run(dir, cache, network string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	p, err := hcsemu.NewPrefix(ctx, cache, dir)
	if err != nil {
		return err
	}
	s, err := hcsemu.Start(hcsemu.Config{
		Drives: hcsemu.PrefixDrives(dir),
		Log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	defer func() {
		fmt.Print(s)
		for _, m := range s.Misuse() {
			fmt.Println("misuse:", m)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, p.End(ctx), s.Close())
	}()
	if err := s.Install(ctx, cache, p); err != nil {
		return err
	}
	if network != "" {
		if _, err := s.CreateNetwork(network); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}
