package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// fakeChecker answers Check with one step after the other, then with nothing.
type fakeChecker struct{ steps []any }

func (f *fakeChecker) Check(context.Context) (hcnnet.Report, error) {
	if len(f.steps) == 0 {
		return hcnnet.Report{}, nil
	}
	step := f.steps[0]
	f.steps = f.steps[1:]
	if err, ok := step.(error); ok {
		return hcnnet.Report{}, err
	}
	return step.(hcnnet.Report), nil
}

type fakeStopper struct {
	start   time.Time
	stopped []string
	err     error
}

func (f *fakeStopper) StopPod(_ context.Context, id string) error {
	f.stopped = append(f.stopped, fmt.Sprintf("%s at %v", id, time.Since(f.start)))
	return f.err
}

func TestWatchNetworks(t *testing.T) {
	lost := func(kv ...string) hcnnet.Report {
		r := hcnnet.Report{Lost: map[string]string{}, Strays: []string{"e9 (x_net)"}}
		for i := 0; i < len(kv); i += 2 {
			r.Lost[kv[i]] = kv[i+1]
		}
		return r
	}
	down := errors.New("hns is down")
	for name, tt := range map[string]struct {
		steps   []any
		stopErr error
		want    []string
		log     map[string]int // how often
	}{
		"nothing":       {[]any{lost(), lost()}, nil, nil, map[string]int{"looks like": 1}},
		"once":          {[]any{lost("a", "endpoint 1"), lost()}, nil, nil, nil},
		"twice":         {[]any{lost("a", "endpoint 1"), lost("a", "endpoint 1", "b", "endpoint 2")}, nil, []string{"a at 20s"}, map[string]int{"endpoint 1 is gone": 1}},
		"other_loss":    {[]any{lost("a", "endpoint 1"), lost("a", "endpoint 2")}, nil, nil, nil},
		"down_between":  {[]any{lost("a", "endpoint 1"), down, down, lost("a", "endpoint 1")}, nil, nil, map[string]int{"hns is down": 1, "can be looked at again": 1}},
		"stop_is_tried": {[]any{lost("a", "e"), lost("a", "e"), lost("a", "e")}, errors.New("busy"), []string{"a at 20s", "a at 30s"}, map[string]int{"error=busy": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				stopper := &fakeStopper{start: time.Now(), err: tt.stopErr}
				ctx, cancel := context.WithTimeout(t.Context(), 65*time.Second)
				defer cancel()
				if err := watchNetworks(ctx, 10*time.Second, &fakeChecker{tt.steps}, stopper, slog.New(slog.NewTextHandler(&out, nil))); err != nil {
					t.Errorf("watchNetworks = %v", err)
				}
				if diff := cmp.Diff(tt.want, stopper.stopped); diff != "" {
					t.Errorf("stopped (-want +got):\n%s", diff)
				}
				for text, n := range tt.log {
					if got := strings.Count(out.String(), text); got != n {
						t.Errorf("the log has %q %d times, want %d:\n%s", text, got, n, &out)
					}
				}
			})
		})
	}
}
