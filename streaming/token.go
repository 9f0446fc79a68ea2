package streaming

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

const (
	tokenTTL  = time.Minute
	maxTokens = 1000 // that wait at one time
)

// tokens keeps requests until their URL is used.
type tokens struct {
	mu     sync.Mutex // guards all below
	byText map[string]pending
	order  []expiry // oldest first; used tokens stay until they expire
}

type pending struct {
	kind    string
	request any
	expires time.Time
}

type expiry struct {
	token string
	at    time.Time
}

// put keeps a request and returns the token that takes it.
func (t *tokens) put(kind string, request any) (string, error) {
	now := time.Now()
	token := rand.Text() // 128 bits at least
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for n < len(t.order) && !now.Before(t.order[n].at) {
		delete(t.byText, t.order[n].token)
		n++
	}
	t.order = t.order[n:]
	if len(t.byText) >= maxTokens {
		return "", fmt.Errorf("%d URLs wait for their clients: %w", len(t.byText), errdefs.ErrResourceExhausted)
	}
	if t.byText == nil {
		t.byText = make(map[string]pending)
	}
	expires := now.Add(tokenTTL)
	t.byText[token] = pending{kind, request, expires}
	t.order = append(t.order, expiry{token, expires})
	return token, nil
}

// take returns the request of a token once, if its kind is right and it is in time.
func (t *tokens) take(kind, token string) (any, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.byText[token]
	if !ok || p.kind != kind {
		return nil, false
	}
	delete(t.byText, token)
	return p.request, time.Now().Before(p.expires)
}
