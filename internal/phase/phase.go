package phase

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Root is the Parent of phases that are the call's own.
const Root = -1

// maxSpans bounds the phases of one call; what comes after is not recorded.
const maxSpans = 256

// Span is one phase of a call.
type Span struct {
	Name   string        `json:"name"`
	Parent int           `json:"parent"` // index of the phase that it is a part of, or Root; always a lesser one
	Start  time.Duration `json:"start"`  // since the call began
	Took   time.Duration `json:"took"`
	Error  string        `json:"error,omitempty"` // what it ended with
}

// Recorder holds the phases of one call.
type Recorder struct {
	begun time.Time // immutable after Record

	mu    sync.Mutex // guards spans
	spans []Span     // with Took -1 while they run
}

// where is a place in a recorder: under which phase the next one goes.
type where struct {
	r      *Recorder
	parent int
}

type key struct{}

func at(ctx context.Context) (where, bool) {
	w, ok := ctx.Value(key{}).(where)
	return w, ok
}

// Record begins a call: phases that begin under the returned context are in the recorder.
func Record(ctx context.Context) (context.Context, *Recorder) {
	r := &Recorder{begun: time.Now()}
	return context.WithValue(ctx, key{}, where{r, Root}), r
}

// Begin begins a phase as a part of the one in ctx. Phases under the returned context are
// parts of it. end is called once, with how it ended.
func Begin(ctx context.Context, name string) (_ context.Context, end func(error)) {
	w, ok := at(ctx)
	if !ok {
		return ctx, func(error) {}
	}
	i := w.r.begin(name, w.parent)
	if i == Root {
		return ctx, func(error) {}
	}
	return context.WithValue(ctx, key{}, where{w.r, i}), func(err error) { w.r.end(i, err) }
}

// Do is a phase around f.
func Do(ctx context.Context, name string, f func(context.Context) error) error {
	ctx, end := Begin(ctx, name)
	err := f(ctx)
	end(err)
	return err
}

// Steps are phases that follow one another: each call of next ends the one before and
// begins another, of which there is none when the name is empty. next is for one
// goroutine.
func Steps(ctx context.Context) (next func(name string)) {
	last := func(error) {}
	return func(name string) {
		last(nil)
		last = func(error) {}
		if name != "" {
			_, last = Begin(ctx, name)
		}
	}
}

func (r *Recorder) begin(name string, parent int) int {
	now := time.Since(r.begun)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spans) == maxSpans {
		return Root
	}
	r.spans = append(r.spans, Span{Name: name, Parent: parent, Start: now, Took: -1})
	return len(r.spans) - 1
}

func (r *Recorder) end(i int, err error) {
	now := time.Since(r.begun)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans[i].Took = now - r.spans[i].Start
	if err != nil {
		r.spans[i].Error = cut(err.Error(), maxError)
	}
}

// Spans returns the phases so far, in the order in which they began. One that still runs
// has taken the time until now.
func (r *Recorder) Spans() []Span {
	now := time.Since(r.begun)
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.spans)
	for i := range out {
		if out[i].Took < 0 {
			out[i].Took = now - out[i].Start
		}
	}
	return out
}
