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

// listed has what lists say of pods and containers, as it hardly ever changes. Of attributes
// only the bytes that they are encoded to are needed.
type listed struct {
	pods                items[*runtimeapi.PodSandbox]
	containers          items[*runtimeapi.Container]
	podAttributes       kept[[]byte]
	containerAttributes kept[[]byte]
}

func (l *listed) pod(p *sandbox.Pod) *runtimeapi.PodSandbox {
	state := podState(p.State)
	return l.pods.get(p.ID, int32(state), func() *runtimeapi.PodSandbox { return podItem(p, state) })
}

func (l *listed) container(c *sandbox.Container) *runtimeapi.Container {
	state := containerState(c.Phase)
	return l.containers.get(c.ID, int32(state), func() *runtimeapi.Container { return containerItem(c, state) })
}

func (l *listed) attributesOfPod(p *sandbox.Pod) ([]byte, error) {
	return l.podAttributes.get(p.ID, 0, func() ([]byte, error) { return proto.Marshal(podAttributes(p)) })
}

func (l *listed) attributesOfContainer(c *sandbox.Container) ([]byte, error) {
	return l.containerAttributes.get(c.ID, 0, func() ([]byte, error) { return proto.Marshal(containerAttributes(c)) })
}

// item is a message of a list: a pointer to one.
type item interface {
	comparable
	proto.Message
	GetId() string
}

// items holds messages, which all lists share and nobody may write to, and the bytes that
// they are encoded to. The zero value is ready for use; it is safe for concurrent use.
type items[M item] struct{ kept[encodedItem[M]] }

type encodedItem[M item] struct {
	m      M
	fields []byte // nil: m cannot be encoded
}

// get returns the message of an id. It is made anew when the state is another one: nothing
// else in it may depend on what can change.
func (i *items[M]) get(id string, state int32, create func() M) M {
	e, _ := i.kept.get(id, state, func() (encodedItem[M], error) {
		m := create()
		// An error comes again from the library when it sends the message.
		fields, _ := proto.Marshal(m)
		return encodedItem[M]{m, fields}, nil
	})
	return e.m
}

// fields are those of a message, encoded: what is kept when the message is get's.
func (i *items[M]) fields(m M) ([]byte, error) {
	if e := i.peek(m.GetId()); e.m == m && e.fields != nil {
		return e.fields, nil
	}
	return proto.Marshal(m)
}

// kept holds values by the id of what they are about. The zero value is ready for use;
// it is safe for concurrent use.
type kept[V any] struct {
	mu        sync.Mutex // guards all below
	turned    time.Time
	now, last map[string]keptValue[V] // asked for since turned, and before that
}

type keptValue[V any] struct {
	v     V
	state int32
}

// get returns the value of an id, made anew when there is none or the state is another
// one. An error is create's.
func (k *kept[V]) get(id string, state int32, create func() (V, error)) (V, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.now[id]
	if ok && e.state == state {
		return e.v, nil
	}
	if !ok {
		e, ok = k.last[id]
	}
	if !ok || e.state != state {
		v, err := create()
		if err != nil {
			return v, err
		}
		e = keptValue[V]{v, state}
	}
	if k.now == nil {
		k.now = map[string]keptValue[V]{}
	}
	k.now[id] = e
	return e.v, nil
}

// peek returns what get returned of late, or nothing.
func (k *kept[V]) peek(id string) V {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now[id].v
}

// turn lets go of what was not asked for of late. It is called for each list.
func (k *kept[V]) turn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := time.Now(); t.Sub(k.turned) > keptFor {
		k.turned, k.now, k.last = t, make(map[string]keptValue[V], len(k.now)), k.now
	}
}
