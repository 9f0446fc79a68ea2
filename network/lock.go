package network

import (
	"context"
	"sync"
)

// keyLock is a lock for each key that is in use.
type keyLock struct {
	mu   sync.Mutex // guards held
	held map[string]*keyHolder
}

type keyHolder struct {
	users int           // guarded by keyLock.mu
	token chan struct{} // holds one value while unlocked
}

// lock waits for the key or the end of ctx.
func (l *keyLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*keyHolder)
	}
	h := l.held[key]
	if h == nil {
		h = &keyHolder{token: make(chan struct{}, 1)}
		h.token <- struct{}{}
		l.held[key] = h
	}
	h.users++
	l.mu.Unlock()
	select {
	case <-h.token:
		return func() {
			h.token <- struct{}{}
			l.release(key, h)
		}, nil
	case <-ctx.Done():
		l.release(key, h)
		return nil, context.Cause(ctx)
	}
}

func (l *keyLock) release(key string, h *keyHolder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(l.held, key)
	}
}
