package simnode

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// moment is a place in the order of what happens: calls begin and end at moments.
type moment = int64

const never moment = math.MaxInt64

// thing is a pod or a container as the answers so far let it be. Each field is the
// earliest moment from which something may be so, when it was asked for, or must be so,
// when that was answered.
type thing struct {
	name   string
	what   string // "p3 1a2b3c", for messages
	owner  *thing // a container's pod
	asked  moment // when its maker called; never: it is not known who that was
	born   moment // when it was first seen or told of
	mayRun moment // of containers
	runs   moment
	mayEnd moment // not be ready, or exited
	ended  moment
	mayGo  moment
	gone   moment
	killed moment // its VM was
}

func (x *thing) may(f func(*thing) moment) moment {
	m := f(x)
	if x.owner != nil {
		m = min(m, f(x.owner))
	}
	return m
}

func mayEnd(x *thing) moment { return min(x.mayEnd, x.mayGo, x.killed) }
func ended(x *thing) moment  { return min(x.ended, x.gone) }
func mayGo(x *thing) moment  { return x.mayGo }
func gone(x *thing) moment   { return x.gone }

// model is what must be true of the daemon. It is safe for concurrent use.
type model struct {
	t *testing.T

	mu     sync.Mutex // guards the rest
	now    moment
	things map[string]*thing // by id
	// making counts, by name, the calls that may yet make a thing that no answer told of:
	// those at work, and those whose caller did not hear the answer.
	making map[string]int
	unmade map[string]moment // when the last of those ended that left nothing
	downs  []span            // when no daemon served
	// VMs that were killed, and when one that no pod is known to have for itself was last:
	// that may be one that pods share.
	killedVMs    map[string]moment
	sharedKilled moment
	calls        map[string]int
	codes        map[string]int // "StopContainer Unavailable"
	answers      int            // the sum of calls
	bad          int
}

type span struct{ from, to moment }

func newModel(t *testing.T) *model {
	return &model{t: t, things: map[string]*thing{}, making: map[string]int{}, unmade: map[string]moment{}, killedVMs: map[string]moment{}, calls: map[string]int{}, codes: map[string]int{}}
}

// tick is the next moment.
func (m *model) tick() moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next()
}

func (m *model) next() moment { m.now++; return m.now }

// wrong reports what must not be.
func (m *model) wrong(format string, args ...any) {
	if m.bad++; m.bad < 20 {
		m.t.Errorf(format, args...)
	}
}

// settle notes that a call that makes a thing has ended with err, and left none that
// nobody knows.
func (m *model) settle(key string, err error, at moment) {
	m.making[key]--
	if err != nil {
		m.unmade[key] = at
	}
}

// add makes a thing known. One that is seen, since from, though nobody was told of it must
// be what a call makes, or made, whose answer is not known, or was not known then.
func (m *model) add(id, name string, owner *thing, asked, from moment) *thing {
	key := name
	if owner != nil {
		key = owner.name + "/" + name
	}
	x := m.things[id]
	if x == nil {
		x = &thing{name: key, what: key + " " + id[:6], owner: owner, asked: asked, born: m.now, mayRun: never, runs: never,
			mayEnd: never, ended: never, mayGo: never, gone: never, killed: never}
		if asked == never {
			if m.making[key] == 0 && m.unmade[key] < from {
				m.wrong("%s is there and nobody made it", x.what)
			}
			x.mayRun, x.mayEnd = 0, 0 // it may be what is left of one that could not be undone
			if owner != nil {
				// Or one that is being made in a VM that has ended: it is seen to have exited
				// with the VM, as events tell, until its making is undone.
				x.mayGo = 0
			}
		}
		m.things[id] = x
	}
	x.asked = min(x.asked, asked)
	if at, ok := m.killedVMs[id]; ok {
		mark(&x.killed, at)
	}
	if owner == nil && handlerOf(name) != "" && x.asked < m.sharedKilled {
		mark(&x.killed, m.sharedKilled)
	}
	return x
}

// mark notes the earliest moment.
func mark(to *moment, at moment) { *to = min(*to, at) }

// sees checks that a thing may be there, or not, between two moments.
func (m *model) sees(x *thing, there bool, from, to moment) {
	switch {
	case there && x.may(gone) < from:
		m.wrong("%s is there after it was removed", x.what)
	case !there && x.may(mayGo) > to:
		m.wrong("%s is not there, and nobody removed it", x.what)
	}
}

func (m *model) seesPod(id, name string, state runtimeapi.PodSandboxState, from, to moment) {
	x := m.add(id, name, nil, never, from)
	m.sees(x, true, from, to)
	switch ready := state == runtimeapi.PodSandboxState_SANDBOX_READY; {
	case ready && ended(x) < from:
		m.wrong("%s is ready after it was stopped", x.what)
	case !ready && mayEnd(x) > to:
		m.wrong("%s is not ready, and nobody stopped it", x.what)
	}
}

func (m *model) seesContainer(id, name string, pod *thing, state runtimeapi.ContainerState, from, to moment) {
	x := m.add(id, name, pod, never, from)
	m.sees(x, true, from, to)
	switch state {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		if x.runs < from || x.may(ended) < from {
			m.wrong("%s is only created after it was started or stopped", x.what)
		}
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		if x.mayRun > to || x.may(ended) < from {
			m.wrong("%s runs, and was not started or was stopped", x.what)
		}
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		if x.may(mayEnd) > to {
			m.wrong("%s has exited, and nobody stopped it", x.what)
		}
	default:
		m.wrong("%s is in state %v", x.what, state)
	}
}

// down tells whether there was no daemon at some moment of a span.
func (m *model) down(from, to moment) bool {
	for _, d := range m.downs {
		if d.from < to && from < d.to {
			return true
		}
	}
	return false
}

func (m *model) summary() string {
	var b strings.Builder
	total := 0
	for _, n := range m.calls {
		total += n
	}
	fmt.Fprintf(&b, "%d calls, %d pods and containers, %d daemons; answers: %v", total, len(m.things), len(m.downs)+1, m.codes)
	return b.String()
}
