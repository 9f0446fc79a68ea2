package phase

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Call is one call that helps to make a pod, with its phases.
type Call struct {
	Name      string        `json:"name"` // of the CRI's call
	Pod       Pod           `json:"pod"`
	Container string        `json:"container,omitempty"` // its name
	Image     string        `json:"image,omitempty"`     // reference or id
	Begun     time.Time     `json:"begun"`
	Took      time.Duration `json:"took"`
	Error     string        `json:"error,omitempty"`
	Spans     []Span        `json:"spans,omitempty"`

	// Traceparent is the caller's, as the W3C's Trace Context has it; empty: none.
	Traceparent string `json:"-"`
}

// Pod says which pod a call is for. A pull knows no id, and perhaps nothing at all.
type Pod struct {
	ID        string `json:"id,omitempty"`
	UID       string `json:"uid,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
}

// Bounds of a journal.
const (
	maxPods  = 256
	maxCalls = 64 // of one pod
)

// Journal keeps the calls of the pods that were made last. A nil one keeps nothing.
type Journal struct {
	ended func(Call) // immutable after NewJournal

	mu   sync.Mutex // guards pods
	pods []*history // the oldest first
}

type history struct {
	pod   Pod
	calls []Call
}

// NewJournal returns an empty journal. ended, which may be nil, is told of each call when
// it ends, also of those that are for no pod; it must not block.
func NewJournal(ended func(Call)) *Journal { return &Journal{ended: ended} }

// Begin begins a call. Phases under the returned context are recorded. end is called once,
// with how it ended; pod is then what is known of the pod, which it may not be before.
func (j *Journal) Begin(ctx context.Context, c Call) (_ context.Context, end func(pod Pod, err error)) {
	if j == nil {
		return ctx, func(Pod, error) {}
	}
	ctx, r := Record(ctx)
	c.Begun, c.Traceparent = r.begun, traceparent(ctx)
	return ctx, func(pod Pod, err error) {
		c.Pod, c.Took, c.Spans = pod, time.Since(r.begun), r.Spans()
		if err != nil {
			c.Error = cut(err.Error(), maxError)
		}
		j.add(c)
		if j.ended != nil {
			j.ended(c)
		}
	}
}

func (j *Journal) add(c Call) {
	if c.Pod == (Pod{}) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	// A pull knows the uid alone, and comes after its sandbox.
	i := len(j.pods) - 1
	for ; i >= 0; i-- {
		h := j.pods[i]
		if c.Pod.ID != "" && h.pod.ID == c.Pod.ID || c.Pod.ID == "" && h.pod.UID == c.Pod.UID {
			break
		}
	}
	if i < 0 {
		if len(j.pods) == maxPods {
			j.pods = slices.Delete(j.pods, 0, 1)
		}
		j.pods = append(j.pods, &history{pod: c.Pod})
		i = len(j.pods) - 1
	}
	if h := j.pods[i]; len(h.calls) < maxCalls {
		h.calls = append(h.calls, c)
	}
}

// History is a pod with its calls, in the order in which they ended.
type History struct {
	Pod   Pod    `json:"pod"`
	Calls []Call `json:"calls"`
}

// Pods returns what is known, the newest first.
func (j *Journal) Pods() []History {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	out := make([]History, 0, len(j.pods))
	for _, h := range slices.Backward(j.pods) {
		out = append(out, History{Pod: h.pod, Calls: slices.Clone(h.calls)})
	}
	return out
}

type parentKey struct{}

// WithTraceparent puts the caller's trace context into ctx, for the calls that begin under it.
func WithTraceparent(ctx context.Context, parent string) context.Context {
	return context.WithValue(ctx, parentKey{}, parent)
}

func traceparent(ctx context.Context) string {
	s, _ := ctx.Value(parentKey{}).(string)
	return s
}
