package template

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/phase"
)

// awaited calls Await in the background, and returns how long it took and its template.
type awaited struct {
	class string // empty: it is to boot
	took  time.Duration
}

func await(ctx context.Context, k *Keeper, s Size) <-chan awaited {
	out := make(chan awaited, 1)
	begin := time.Now()
	go func() {
		l := k.Await(ctx, s)
		a := awaited{took: time.Since(begin)}
		if l != nil {
			a.class = l.Class.String()
			l.Close()
		}
		out <- a
	}()
	return out
}

// TestKeeper_AwaitFirst asks at the daemon's start, while the template is made.
func TestKeeper_AwaitFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{hold: make(chan struct{})}
		k, _ := newKeeper(t, b)
		time.Sleep(time.Second) // it is at work
		first, second := await(t.Context(), k, size(1, 256)), await(t.Context(), k, size(1, 192))
		time.Sleep(2 * time.Second)
		close(b.hold)
		for _, got := range []awaited{<-first, <-second} {
			if want := (awaited{"1 CPU, 256 MiB", 2 * time.Second}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		if c := k.Status().Counts; c.Boots != 0 {
			t.Errorf("counts %+v: nothing has booted", c)
		}
	})
}

// TestKeeper_AwaitPhase: what a pod waited for a template is told, and nothing where one is
// there already.
func TestKeeper_AwaitPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{hold: make(chan struct{})}
		k, _ := newKeeper(t, b)
		ctx, first := phase.Record(t.Context())
		got := await(ctx, k, size(1, 256))
		time.Sleep(3 * time.Second)
		close(b.hold)
		<-got
		want := []phase.Span{{Name: "await template", Parent: phase.Root, Took: 3 * time.Second}}
		if diff := cmp.Diff(want, first.Spans()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		ctx, second := phase.Record(t.Context())
		<-await(ctx, k, size(1, 256))
		if got := second.Spans(); len(got) != 0 {
			t.Errorf("got phases %+v of a template that was there", got)
		}
	})
}

// TestKeeper_AwaitBounded has templates that do not come.
func TestKeeper_AwaitBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		kept []Class
		then func(*builder, *Keeper, context.CancelFunc) // after a second of waiting
		want awaited
	}{
		"never":    {nil, nil, nil, awaited{"", mostPatience - time.Second}},
		"fails":    {errors.New("no memory"), nil, func(b *builder, _ *Keeper, _ context.CancelFunc) { close(b.hold) }, awaited{"", time.Second}},
		"given-up": {nil, nil, func(_ *builder, _ *Keeper, cancel context.CancelFunc) { cancel() }, awaited{"", time.Second}},
		"closed":   {nil, nil, func(_ *builder, k *Keeper, _ context.CancelFunc) { k.Close() }, awaited{"", time.Second}},
		// The builder is at work on another class: two of them take longer than a boot.
		"another-first": {nil, []Class{{1, 128}, {1, 256}}, nil, awaited{"", 0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &builder{hold: make(chan struct{}), err: tt.err}
				k, _ := newKeeper(t, b, tt.kept...)
				time.Sleep(time.Second)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				got := await(ctx, k, size(1, 256))
				time.Sleep(time.Second)
				if tt.then != nil {
					tt.then(b, k, cancel)
				}
				if got := <-got; got != tt.want {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
				if c := k.Status().Counts; c.Boots != 1 {
					t.Errorf("counts %+v: one has booted", c)
				}
			})
		})
	}
}

// TestKeeper_AwaitNext asks for a size that nobody has asked for yet, and for one whose
// template could not be made.
func TestKeeper_AwaitNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{}
		k, _ := newKeeper(t, b)
		if got := <-await(t.Context(), k, size(2, 1024)); got.class != "2 CPU, 1024 MiB" {
			t.Errorf("a new size: %+v", got)
		}
		b.err = errors.New("no memory")
		if got := <-await(t.Context(), k, size(4, 2048)); got != (awaited{}) {
			t.Errorf("one that cannot be made: %+v", got)
		}
		synctest.Wait()
		b.hold = make(chan struct{})
		if got := <-await(t.Context(), k, size(4, 2048)); got != (awaited{}) {
			t.Errorf("one that could not be made: %+v, want no wait", got)
		}
		// One that is made takes so long that the last one's time is what is waited for.
		b.hold, b.err = make(chan struct{}), nil
		got := await(t.Context(), k, size(1, 64))
		time.Sleep(4 * time.Second)
		close(b.hold)
		if got := <-got; got.class != "1 CPU, 64 MiB" || got.took != 4*time.Second {
			t.Errorf("a slow one: %+v", got)
		}
		b.hold = make(chan struct{})
		if got := <-await(t.Context(), k, size(8, 4096)); got.took != 3*4*time.Second || got.class != "" {
			t.Errorf("one that takes far longer than the last: %+v, want a wait of three times that", got)
		}
	})
}
