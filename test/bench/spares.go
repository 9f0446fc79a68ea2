package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
)

// fromPool ends the names of rows whose pods got a VM that was there before.
const fromPool = ", warm pool"

// spares takes the samples of pods that get a spare VM, of a server of its own. The ratio is
// to the peer's pods of cycles: it has no such thing.
func (b *bench) spares(ctx context.Context) (err error) {
	dir := filepath.Join(filepath.Dir(b.server.Dir), "s")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	s, err := harness.New(harness.Config{Dir: dir, Bin: b.bin, Guest: b.guest, CNIConf: deploy.CNIConf, VM: "spares = \"1\"\n"})
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	r := &runtime{name: portholeName, RuntimeServiceClient: s.RuntimeServiceClient, images: s.Images, logs: filepath.Join(dir, "logs")}
	if _, err := r.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: b.images.sample}}); err != nil {
		return err
	}
	var pooled table
	for i := range b.n + 1 {
		say("pod from the pool %d of %d", i, b.n)
		if err := awaitSpare(ctx, s); err != nil {
			return fmt.Errorf("%w\n%s", err, s.LogTail())
		}
		t := &pooled
		if i == 0 {
			t = &table{}
		}
		if err := r.cycle(ctx, t, b.meter, b.images.sample, fmt.Sprintf("pool-%d", i)); err != nil {
			return err
		}
		if i > 0 {
			if err := tracePod(ctx, s, &b.report.poolPhases, fmt.Sprintf("pool-%d", i)); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{stepRun, stepStart, stepBoth, stepExec} {
		row, peer := pooled.row(name, milliseconds), b.report.steps.row(name, milliseconds)
		b.report.steps.add(name+fromPool, milliseconds, portholeName, row.values[portholeName]...)
		b.report.steps.add(name+fromPool, milliseconds, containerdName, peer.values[containerdName]...)
	}
	return nil
}

// awaitSpare waits until the server has a spare VM.
func awaitSpare(ctx context.Context, s *harness.Server) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for {
		n, err := s.Spares(ctx)
		if err != nil {
			return fmt.Errorf("wait for a spare VM: %w", err)
		}
		if n > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a spare VM: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
