package main

import (
	"io"
	"sync"
)

// lockedWriter lets a program's two outputs, copied by two goroutines, share
// one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
