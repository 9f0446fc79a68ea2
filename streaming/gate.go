package streaming

import "sync"

// gate counts handlers and, among them, Executor calls, until it is shut. A WaitGroup
// does not do: port-forwards start in goroutines of the library's own at any time.
type gate struct {
	mu       sync.Mutex // guards all below
	handlers int
	calls    int
	idle     chan struct{} // not nil: shut; closed when nothing runs
}

// enter counts a handler, or refuses it when the gate is shut.
func (g *gate) enter() bool { return g.add(1, 0) }

func (g *gate) leave() { g.add(-1, 0) }

// enterCall counts an Executor call, or refuses it when the gate is shut.
func (g *gate) enterCall() bool { return g.add(0, 1) }

func (g *gate) leaveCall() { g.add(0, -1) }

func (g *gate) add(handlers, calls int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.idle != nil && handlers+calls > 0 {
		return false
	}
	g.handlers += handlers
	g.calls += calls
	if g.idle != nil && g.handlers+g.calls == 0 {
		close(g.idle)
	}
	return true
}

// shut refuses more and returns what is closed when nothing runs. It is called once.
func (g *gate) shut() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = make(chan struct{})
	if g.handlers+g.calls == 0 {
		close(g.idle)
	}
	return g.idle
}

// running returns how many Executor calls run.
func (g *gate) running() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls
}
