package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// pair returns both ends of a stream whose directions end apart.
func pair() (host, guest *end) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return &end{r1, w2}, &end{r2, w1}
}

type end struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func (e *end) Read(b []byte) (int, error)  { return e.r.Read(b) }
func (e *end) Write(b []byte) (int, error) { return e.w.Write(b) }
func (e *end) CloseWrite() error           { return e.w.Close() }
func (e *end) Close() error                { e.w.Close(); return e.r.CloseWithError(net.ErrClosed) }

// closed says whether the other end was closed.
func (e *end) closed() bool {
	_, err := e.r.Read(make([]byte, 1))
	return err == io.EOF
}

func TestRegistry_Claim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		host, a := pair()
		_, b := pair()
		if err := r.Put(1, a); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(ClaimWait / 2)
			r.Put(2, b)
		}()
		got, err := r.Claim(t.Context(), 1, 0, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 3 || got[0] != Stream(a) || got[1] != nil || got[2] != Stream(b) {
			t.Errorf("Claim = %v", got)
		}
		time.Sleep(2 * KeepWaiting)
		go a.Write([]byte("x"))
		if host.closed() {
			t.Error("a claimed stream was dropped")
		}
	})
}

func TestRegistry_ClaimFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		host, a := pair()
		r.Put(1, a)
		if _, err := r.Claim(t.Context(), 1, 1); !errdefs.IsInvalidArgument(err) {
			t.Errorf("Claim of one id twice = %v, want InvalidArgument", err)
		}
		start := time.Now()
		if _, err := r.Claim(t.Context(), 1, 2); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "stream 2") {
			t.Errorf("Claim = %v, want NotFound naming stream 2", err)
		}
		if d := time.Since(start); d != ClaimWait {
			t.Errorf("Claim waited %v, want %v", d, ClaimWait)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Claim(ctx, 2); !errors.Is(err, context.Canceled) {
			t.Errorf("Claim = %v, want Canceled", err)
		}
		if err := r.Put(1, a); !errdefs.IsAlreadyExists(err) {
			t.Errorf("Put = %v, want AlreadyExists", err)
		}
		r.Drop()
		if !host.closed() {
			t.Error("a waiting stream is open after Drop")
		}
	})
}

func TestRegistry_Bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		var hosts []*end
		for i := range uint64(MaxWaiting) {
			h, g := pair()
			hosts = append(hosts, h)
			if err := r.Put(i+1, g); err != nil {
				t.Fatal(err)
			}
		}
		h, g := pair()
		if err := r.Put(MaxWaiting+1, g); !errdefs.IsResourceExhausted(err) || !h.closed() {
			t.Errorf("Put = %v, want ResourceExhausted and a closed stream", err)
		}
		time.Sleep(KeepWaiting + time.Second)
		synctest.Wait()
		for i, h := range hosts {
			if !h.closed() {
				t.Fatalf("stream %d is open after %v", i+1, KeepWaiting)
			}
		}
		h, g = pair()
		if err := r.Put(1, g); err != nil {
			t.Errorf("Put after the drop: %v", err)
		}
		r.Drop()
		_ = h
	})
}

func TestInput_HalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := pair()
		pr, pw := io.Pipe()
		go Input(pw, guest)
		go func() { fmt.Fprint(host, "hello"); host.CloseWrite() }()
		got, err := io.ReadAll(pr)
		if err != nil || string(got) != "hello" {
			t.Errorf("the process read %q, %v", got, err)
		}
	})
}

func TestInput_ProcessGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := pair()
		pr, pw := io.Pipe()
		pr.Close()
		go Input(pw, guest)
		for range 10 { // blocks for ever unless the rest is thrown away
			if _, err := host.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
		host.CloseWrite()
	})
}

func TestOutput_HostGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := pair()
		host.Close()
		pr, pw := io.Pipe()
		go Output(guest, pr)
		for range 10 {
			if _, err := pw.Write(make([]byte, 64<<10)); err != nil {
				t.Fatal(err)
			}
		}
		pw.Close()
	})
}

func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host, guest := pair()
		server, conn := pair()
		go Relay(guest, conn)
		go func() { fmt.Fprint(host, "ping"); host.CloseWrite() }()
		asked, _ := io.ReadAll(server)
		fmt.Fprintf(server, "pong after %s", asked)
		server.CloseWrite()
		got, _ := io.ReadAll(host)
		if d := cmp.Diff("pong after ping", string(got)); d != "" {
			t.Error(d)
		}
	})
}
