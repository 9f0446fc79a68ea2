// Command hcsemud runs the emulator of package hcsemu for a Wine prefix, until it is told to
// end, and installs its DLLs there. It is for tests and for trying things out.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/porthole-run/porthole/test/hcsemu"
)

func main() {
	prefix := flag.String("prefix", os.Getenv("WINEPREFIX"), "the Wine `prefix`")
	cache := flag.String("cache", filepath.Join(os.TempDir(), "hcsemu"), "the `folder` for built DLLs")
	flag.Parse()
	if err := run(*prefix, *cache); err != nil {
		fmt.Fprintln(os.Stderr, "hcsemud:", err)
		os.Exit(1)
	}
}

func run(prefix, cache string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	dlls, err := hcsemu.BuildDLLs(ctx, cache)
	if err != nil {
		return err
	}
	s, err := hcsemu.Start(hcsemu.Config{
		Drives: hcsemu.PrefixDrives(prefix),
		Log:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Install(dlls, prefix); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	for _, m := range s.Misuse() {
		fmt.Println("misuse:", m)
	}
	fmt.Print(s.String())
	return nil
}
