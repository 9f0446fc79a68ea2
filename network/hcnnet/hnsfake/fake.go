package hnsfake

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// Codes of winerror.h that the fake answers with.
const (
	notFound        = 0x490
	alreadyExists   = 0xb7
	rpcUnavailable  = 0x800706ba
	noNetwork       = 0x803b0001
	noEndpoint      = 0x803b0002
	badNetwork      = 0x803b000a
	badEndpoint     = 0x803b000c
	badPolicy       = 0x803b000d
	badPolicyType   = 0x803b000e
	portTaken       = 0x803b0013
	alreadyAttached = 0x803b0014
	badJSON         = 0x803b001b
	badIP           = 0x803b001e
	inUse           = 0x803b002c
	badAddress      = 0x803b002f
)

// HNS is the fake.
type HNS struct {
	mu         sync.Mutex // guards what follows
	networks   map[string]*net
	endpoints  map[string]*endpoint
	namespaces map[string]map[string]bool // ids of endpoints
	next       int                        // of ids and MACs
	step       int                        // calls so far
	failAt     int
	failWith   uint32
	stopped    bool
	ownIDs     bool
	version    hcnnet.Version
	block      <-chan struct{}
}

type net struct {
	hcnnet.Network
	gateways   []string // by subnet; empty: none
	persistent bool
}

type endpoint struct {
	hcnnet.Endpoint
	ports map[string]bool // host ports that it takes
	stats hcnnet.Stats
}

var _ hcnnet.HNS = (*HNS)(nil)

// New makes an HNS that holds nothing, of the version of Windows Server 2022.
func New() *HNS {
	return &HNS{
		networks: make(map[string]*net), endpoints: make(map[string]*endpoint),
		namespaces: make(map[string]map[string]bool), version: hcnnet.Version{Major: 15, Minor: 1},
	}
}

// FailAt makes the n-th call from now on fail with a code of winerror.h.
func (h *HNS) FailAt(n int, code uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failAt, h.failWith = h.step+n, code
}

// Steps returns how many calls there were.
func (h *HNS) Steps() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.step
}

// ChooseIDs makes the HNS give namespaces other ids than those asked for.
func (h *HNS) ChooseIDs() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ownIDs = true
}

// SetVersion sets what Version answers.
func (h *HNS) SetVersion(v hcnnet.Version) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.version = v
}

// Block makes each call wait until release is closed.
func (h *HNS) Block(release <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.block = release
}

// Stop makes each call fail as when the service does not run.
func (h *HNS) Stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
}

// Restart starts the service anew: namespaces, networks that are not persistent and
// their endpoints are lost.
func (h *HNS) Restart() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = false
	clear(h.namespaces)
	maps.DeleteFunc(h.networks, func(_ string, n *net) bool { return !n.persistent })
	maps.DeleteFunc(h.endpoints, func(_ string, e *endpoint) bool { return h.networks[e.Network] == nil })
	for _, e := range h.endpoints {
		e.Namespace = ""
	}
}

// Count sets an endpoint's counters.
func (h *HNS) Count(id string, s hcnnet.Stats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endpoints[strings.ToLower(id)].stats = s
}

// String shows what the HNS holds.
func (h *HNS) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, n := range slices.SortedFunc(maps.Values(h.networks), func(a, b *net) int { return strings.Compare(a.Name, b.Name) }) {
		fmt.Fprintf(&b, "network %s (%s)\n", n.Name, n.Type)
	}
	for _, id := range slices.Sorted(maps.Keys(h.namespaces)) {
		fmt.Fprintf(&b, "namespace %s: %s\n", id, strings.Join(h.names(h.namespaces[id]), " "))
	}
	for _, e := range slices.SortedFunc(maps.Values(h.endpoints), func(a, b *endpoint) int { return strings.Compare(a.ID, b.ID) }) {
		if e.Namespace == "" {
			fmt.Fprintf(&b, "endpoint %s in no namespace\n", e.Name)
		}
	}
	return b.String()
}

func (h *HNS) names(ids map[string]bool) []string {
	var names []string
	for id := range ids {
		names = append(names, h.endpoints[id].Name)
	}
	slices.Sort(names)
	return names
}

// enter begins a call; leave ends it.
func (h *HNS) enter(op, id string) error {
	h.mu.Lock()
	if block := h.block; block != nil {
		h.mu.Unlock()
		<-block
		h.mu.Lock()
	}
	h.step++
	switch {
	case h.stopped:
		return hcnnet.NewError(op, id, rpcUnavailable, "")
	case h.step == h.failAt:
		return hcnnet.NewError(op, id, h.failWith, "injected")
	}
	return nil
}

func (h *HNS) leave() { h.mu.Unlock() }

func (h *HNS) newID() string {
	h.next++
	return fmt.Sprintf("0a1b2c3d-0000-4000-8000-%012x", h.next)
}
