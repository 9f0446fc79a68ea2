package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
)

const (
	rowOnePull    = "one pull"
	rowManyPulls  = "10 pulls of one image at once"
	rowTall       = "peak of a daemon that pulls a layer of 400 MB"
	rowCrowd      = "peak of a daemon that pulls a layer of 1 M entries"
	rowFresh      = "the same daemon before"
	pullsTogether = 10
)

// unpack looks at a server of its own that makes no VMs: what ten pulls at once cost beside
// one, and how much memory a pull takes. The server is started anew for each layer, as Go
// keeps for a while what it has used.
func (b *bench) unpack(ctx context.Context) error {
	if err := b.together(ctx); err != nil {
		return err
	}
	if err := b.peak(ctx, rowTall, b.images.tall); err != nil {
		return err
	}
	if b.images.crowd == "" {
		return nil
	}
	return b.peak(ctx, rowCrowd, b.images.crowd)
}

// together takes the CPU time of one pull and of ten at once, with the registry's part.
func (b *bench) together(ctx context.Context) error {
	return b.alone(ctx, "together", func(s *harness.Server) error {
		for _, n := range []struct {
			row   string
			pulls int
		}{{rowOnePull, 1}, {rowManyPulls, pullsTogether}, {rowManyPulls, pullsTogether}, {rowOnePull, 1}} {
			say("%s", n.row)
			if _, err := s.Images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: b.images.large}}); err != nil {
				return fmt.Errorf("RemoveImage: %w", err)
			}
			fetched := b.images.fetched()
			before, err := b.meter.seconds()
			if err != nil {
				return err
			}
			g, gctx := errgroup.WithContext(ctx)
			for range n.pulls {
				g.Go(func() error { return pullOnly(gctx, s, b.images.large) })
			}
			if err := g.Wait(); err != nil {
				return err
			}
			after, err := b.meter.seconds()
			if err != nil {
				return err
			}
			if b.images.fetched() == fetched {
				return fmt.Errorf("%s: nothing was fetched", n.row)
			}
			b.report.pulls.add(n.row, cpuSecondsUnit, portholeName, after-before)
		}
		return nil
	})
}

// peak records the most memory that a fresh daemon holds while it pulls an image.
func (b *bench) peak(ctx context.Context, row, ref string) error {
	return b.alone(ctx, "peak", func(s *harness.Server) error {
		say("%s", row)
		fresh, err := peakMemory(s.PID())
		if err != nil {
			return err
		}
		if err := pullOnly(ctx, s, ref); err != nil {
			return err
		}
		most, err := peakMemory(s.PID())
		b.report.pulls.add(row, mebibytes, portholeName, most)
		b.report.pulls.add(rowFresh, mebibytes, portholeName, fresh)
		return err
	})
}

// alone runs f with a fresh server that keeps no VMs ready, and removes all of it after.
func (b *bench) alone(ctx context.Context, name string, f func(*harness.Server) error) (err error) {
	dir := filepath.Join(filepath.Dir(b.server.Dir), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := harness.New(harness.Config{Dir: dir, Bin: b.bin, Guest: b.guest, CNIConf: deploy.CNIConf, VM: "template = \"off\"\n"})
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	if err := f(s); err != nil {
		return fmt.Errorf("%w\n%s", err, s.LogTail())
	}
	return nil
}

func pullOnly(ctx context.Context, s *harness.Server, ref string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*callTime)
	defer cancel()
	if _, err := s.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}}); err != nil {
		return fmt.Errorf("PullImage: %w", err)
	}
	return nil
}

// peakMemory is the most resident memory that a process has had, in MiB: VmHWM of
// proc_pid_status(5), which counts what it shares as well.
func peakMemory(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	kib, err := strconv.Atoi(strings.TrimSuffix(field(string(text), "VmHWM"), " kB"))
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return float64(kib) / 1024, nil
}
