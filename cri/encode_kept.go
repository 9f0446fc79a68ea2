package cri

import (
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// keptFor is how long what nobody asks for any more is kept at least. It is gone after
// twice as long, when anything else is asked for.
const keptFor = time.Minute

// listed has what lists say of pods and containers, as it hardly ever changes: messages,
// which all lists share and nobody may write to, and the bytes that they are encoded to.
type listed struct {
	pods                kept[*runtimeapi.PodSandbox]
	containers          kept[*runtimeapi.Container]
	podAttributes       kept[*runtimeapi.PodSandboxAttributes]
	containerAttributes kept[*runtimeapi.ContainerAttributes]
}

func (l *listed) pod(p *sandbox.Pod) *runtimeapi.PodSandbox {
	state := podState(p.State)
	return l.pods.get(p.ID, int32(state), func() *runtimeapi.PodSandbox { return podItem(p, state) })
}

func (l *listed) container(c *sandbox.Container) *runtimeapi.Container {
	state := containerState(c.Phase)
	return l.containers.get(c.ID, int32(state), func() *runtimeapi.Container { return containerItem(c, state) })
}

func (l *listed) attributesOfPod(p *sandbox.Pod) *runtimeapi.PodSandboxAttributes {
	return l.podAttributes.get(p.ID, 0, func() *runtimeapi.PodSandboxAttributes { return podAttributes(p) })
}

func (l *listed) attributesOfContainer(c *sandbox.Container) *runtimeapi.ContainerAttributes {
	return l.containerAttributes.get(c.ID, 0, func() *runtimeapi.ContainerAttributes { return containerAttributes(c) })
}

// message is a pointer to a message.
type message interface {
	comparable
	proto.Message
}

// kept holds messages by the id of what they are about. The zero value is ready for use;
// it is safe for concurrent use.
type kept[M message] struct {
	mu        sync.Mutex // guards all below
	turned    time.Time
	now, last map[string]keptMessage[M] // asked for since turned, and before that
}

type keptMessage[M message] struct {
	m      M
	state  int32
	fields []byte // m, encoded; nil: that cannot be
}

// get returns the message of an id. It is made anew when the state is another one: nothing
// else in it may depend on what can change.
func (k *kept[M]) get(id string, state int32, create func() M) M {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.now[id]
	if ok && e.state == state {
		return e.m
	}
	if !ok {
		e, ok = k.last[id]
	}
	if !ok || e.state != state {
		e = keptMessage[M]{m: create(), state: state}
		// An error comes again from the library when it sends the message.
		e.fields, _ = proto.Marshal(e.m)
	}
	if k.now == nil {
		k.now = map[string]keptMessage[M]{}
	}
	k.now[id] = e
	return e.m
}

// turn lets go of what was not asked for of late. It is called for each list.
func (k *kept[M]) turn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := time.Now(); t.Sub(k.turned) > keptFor {
		k.turned, k.now, k.last = t, make(map[string]keptMessage[M], len(k.now)), k.now
	}
}

// append appends the fields of a message of an id, those that are kept when it is get's.
func (k *kept[M]) append(b []byte, id string, m M) ([]byte, error) {
	k.mu.Lock()
	e := k.now[id]
	k.mu.Unlock()
	if e.m == m && e.fields != nil {
		return append(b, e.fields...), nil
	}
	return proto.MarshalOptions{}.MarshalAppend(b, m)
}
