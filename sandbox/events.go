package sandbox

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// keptEvents is how many events a reader may lag behind.
const keptEvents = 1024

// EventKind says what happened to a pod or a container.
type EventKind int

// What events tell. A pod is stopped when it is not ready any more, a container also when
// it will never start.
const (
	EventCreated EventKind = iota + 1
	EventStarted
	EventStopped
	EventDeleted
)

// Event is one change of what callers see of a pod or of a container.
type Event struct {
	Kind EventKind
	ID   string // of the container, or of the pod itself
	At   time.Time
	// Pod and Containers are the pod as it was right after the change, the containers
	// oldest first.
	Pod        Pod
	Containers []Container

	seq uint64
}

// told is what events told of a pod or container.
type told struct{ made, gone bool }

// Events calls f for each change from now on, in order and without a gap, until ctx ends
// or f fails; it returns that error. It calls begun, and ends when that fails, once no
// change can be missed: what is listed after that and what f is told are all there is.
// A reader that falls behind by more than keptEvents is told so, by a ResourceExhausted
// error, and has to list anew.
func (m *Manager) Events(ctx context.Context, begun func() error, f func(Event) error) error {
	m.readers.Add(1)
	defer m.readers.Add(-1)
	last := m.events.Last()
	if err := begun(); err != nil {
		return err
	}
	return m.events.Follow(ctx, last, func(e Event) error {
		if missed := e.seq - last - 1; missed > 0 {
			return fmt.Errorf("%d events were missed, as they were read more slowly than they came: list anew: %w",
				missed, errdefs.ErrResourceExhausted)
		}
		last = e.seq
		return f(e)
	})
}

// changePod takes the transition of e, and tells when the pod was ready before or is seen
// for the first time.
func (m *Manager) changePod(p *pod, e podEvent, change func()) error {
	p.order.Lock()
	defer p.order.Unlock()
	from, err := p.move(e, change)
	if err == nil && (from == podReadyVM || from == podMaking) {
		m.tellPod(p, EventStopped)
	}
	return err
}

// endOfPod makes a pod unknown, and tells those who knew it.
func (m *Manager) endOfPod(p *pod) {
	p.order.Lock()
	defer p.order.Unlock()
	m.dropPod(p)
	m.tellPod(p, EventDeleted)
}

// endOfContainer is endOfPod for containers. Those who know one that was not made yet saw
// it end with its VM.
func (m *Manager) endOfContainer(c *container) {
	c.pod.order.Lock()
	defer c.pod.order.Unlock()
	m.dropContainer(c)
	m.tellContainer(c, EventDeleted)
}

// tellPod tells what happened to a pod. The pod's order is held since before that.
func (m *Manager) tellPod(p *pod, kind EventKind) { m.tell(p, &p.told, p.id, kind) }

// tellContainer is tellPod for containers.
func (m *Manager) tellContainer(c *container, kind EventKind) { m.tell(c.pod, &c.told, c.id, kind) }

// tell adds an event. Of what nobody was told of, as it was never seen, nobody is told
// that it is gone; what could not be undone was made first.
func (m *Manager) tell(p *pod, told *told, id string, kind EventKind) {
	if told.gone {
		return // its VM's end comes late
	}
	told.gone = kind == EventDeleted
	if told.gone && !told.made {
		return
	}
	first := kind != EventCreated && !told.made
	told.made = true
	if m.readers.Load() == 0 {
		return
	}
	e := Event{ID: id, Pod: p.view()}
	containers := m.containersOf(p)
	sortOldest(containers)
	for _, c := range containers {
		if c.visible() {
			e.Containers = append(e.Containers, c.view())
		}
	}
	add := func(kind EventKind) {
		m.events.Add(func(seq uint64) Event {
			e := e
			e.Kind, e.seq, e.At = kind, seq, m.cfg.Clock() // here, so that times are in order too
			return e
		})
	}
	if first {
		add(EventCreated)
	}
	add(kind)
}
