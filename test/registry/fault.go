package registry

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// Fault is one way to misbehave. What is zero does nothing.
type Fault struct {
	Path   string // part of the path that it is for; empty: all
	Method string // empty: all
	Times  int    // how often; zero: always

	Status   int           // answer with this status and nothing else
	Corrupt  bool          // flip a bit in the middle of the content
	CutAfter int           // send so many bytes, then drop the connection
	Delay    time.Duration // wait before the answer
	Stall    bool          // send the first half, then nothing until the client leaves
	NoRange  bool          // pay no heed to Range
}

// Inject adds a fault. The first that fits a request is applied.
func (r *Registry) Inject(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Times == 0 {
		f.Times = -1
	}
	r.faults = append(r.faults, &f)
}

// Heal removes all faults.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
}

// fits tells whether the fault is for a request, and counts it. The registry's lock
// is held.
func (f *Fault) fits(req *http.Request) bool {
	if f.Times == 0 || f.Method != "" && f.Method != req.Method || !strings.Contains(req.URL.Path, f.Path) {
		return false
	}
	if f.Times > 0 {
		f.Times--
	}
	return true
}

func (f *Fault) serve(w http.ResponseWriter, req *http.Request, next http.Handler) {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-req.Context().Done():
			return
		}
	}
	if f.Status != 0 {
		w.WriteHeader(f.Status)
		return
	}
	if f.NoRange {
		req.Header.Del("Range")
	}
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, req)
	body := rec.Body.Bytes()
	if f.Corrupt && len(body) > 0 {
		body = bytes.Clone(body)
		body[len(body)/2] ^= 1
	}
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	if req.Method == http.MethodHead {
		return
	}
	switch {
	case f.CutAfter > 0 && f.CutAfter < len(body):
		f.flush(w, body[:f.CutAfter])
		panic(http.ErrAbortHandler) // drops the connection
	case f.Stall:
		f.flush(w, body[:len(body)/2])
		<-req.Context().Done()
	default:
		_, _ = w.Write(body)
	}
}

func (f *Fault) flush(w http.ResponseWriter, b []byte) {
	_, _ = w.Write(b)
	_ = http.NewResponseController(w).Flush()
}
