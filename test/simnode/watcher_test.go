package simnode

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// watcher follows events, across daemons.
type watcher struct {
	w  *world
	rt runtimeapi.RuntimeServiceClient

	// All guarded by the model's mutex.
	streams []*stream
}

// stream is one GetContainerEvents: from its header to its end each event is told.
type stream struct {
	from, to moment
	seen     map[string][]runtimeapi.ContainerEventType
	last     int64 // time of the newest
}

func newWatcher(w *world) *watcher {
	rt, _ := w.client()
	return &watcher{w: w, rt: rt}
}

func (e *watcher) follow(ctx context.Context) {
	for ctx.Err() == nil {
		events, err := e.rt.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
		if err == nil {
			_, err = events.Header()
		}
		if err != nil {
			pause(ctx, 5*time.Millisecond)
			continue
		}
		m := e.w.model
		m.mu.Lock()
		s := &stream{from: m.next(), to: never, seen: map[string][]runtimeapi.ContainerEventType{}}
		e.streams = append(e.streams, s)
		m.mu.Unlock()
		for {
			ev, err := events.Recv()
			m.mu.Lock()
			if err != nil {
				s.to = m.next()
				if status.Code(err) == codes.ResourceExhausted {
					m.wrong("events: %v", err)
				}
				m.mu.Unlock()
				break
			}
			s.take(m, ev)
			m.mu.Unlock()
		}
	}
}

// take checks an event's place in the order of its thing's.
func (s *stream) take(m *model, ev *runtimeapi.ContainerEventResponse) {
	before := s.seen[ev.ContainerId]
	s.seen[ev.ContainerId] = append(before, ev.ContainerEventType)
	if ev.CreatedAt < s.last {
		m.wrong("an event of %s is of a time before the one before it", ev.ContainerId)
	}
	s.last = ev.CreatedAt
	if len(before) == 0 {
		return // the stream may have begun in its middle
	}
	if last := before[len(before)-1]; last >= ev.ContainerEventType {
		m.wrong("events of %s: %v after %v", ev.ContainerId, ev.ContainerEventType, before)
	}
}

// check waits until the last stream has told that all is deleted, and looks for what was
// not told: of each thing that came and went while a stream was open.
func (e *watcher) check(t *testing.T) {
	t.Helper()
	m := e.w.model
	deadline := time.Now().Add(time.Minute)
	for {
		m.mu.Lock()
		missed := e.missed()
		m.mu.Unlock()
		if len(missed) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for i, text := range missed {
				if i < 10 {
					t.Error(text)
				}
			}
			return
		}
		pause(t.Context(), 20*time.Millisecond)
	}
}

func (e *watcher) missed() (out []string) {
	for _, s := range e.streams {
		for id, x := range e.w.things {
			if x.asked < s.from || x.asked > s.to || x.asked == never {
				continue
			}
			seen := s.seen[id]
			if x.born < s.to && s.to == never && (len(seen) == 0 || seen[0] != runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT) {
				out = append(out, x.what+": its creation was not told")
			}
			if x.may(gone) < never && s.to == never && (len(seen) == 0 || seen[len(seen)-1] != runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT) {
				out = append(out, x.what+": its end was not told")
			}
		}
	}
	return out
}
