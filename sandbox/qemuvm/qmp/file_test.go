package qmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// passer is a connection that takes files, as QEMU's does: only the last one is kept, until
// a command takes it.
type passer struct {
	net.Conn
	mu   sync.Mutex
	held int // files that no command has taken
	most int // of them at a time
}

func (p *passer) WriteFile(b []byte, _ *os.File) error {
	p.mu.Lock()
	p.held++
	p.most = max(p.most, p.held)
	p.mu.Unlock()
	_, err := p.Write(b)
	return err
}

func (p *passer) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
}

// batch is one command with a file and one after it, as a disk is attached.
func batch(n int) []Command {
	return []Command{{Name: fmt.Sprint("add-fd", n), File: os.Stdin}, {Name: fmt.Sprint("device_add", n)}}
}

// TestClient_FilesPipelined: a batch's file waits for the one before to be taken, and not for
// what else was asked for with that.
func TestClient_FilesPipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *passer
		var later []incoming
		s, conn := serve(t, func(s *server, c incoming) {
			if c.Execute[:3] == "add" {
				p.take()
				s.say(answer(c))
				return
			}
			later = append(later, c)
			if len(later) == 3 { // none is answered before all are there
				for _, c := range later {
					s.say(answer(c))
				}
			}
		})
		p = &passer{Conn: conn}
		c := connect(t, p, nil)
		var wg sync.WaitGroup
		for n := range 3 {
			wg.Go(func() {
				for _, r := range c.Do(t.Context(), batch(n)...) {
					if r.Err != nil {
						t.Error(r.Err)
					}
				}
			})
		}
		wg.Wait()
		if p.most != 1 || len(s.commands()) != 7 {
			t.Errorf("%d files were on their way at a time, commands are %q", p.most, s.commands())
		}
	})
}

// TestClient_FileOfOneGone: the file of a caller that waits no more still is QEMU's to take
// before the next one comes.
func TestClient_FileOfOneGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *passer
		first := make(chan incoming, 1)
		s, conn := serve(t, func(s *server, c incoming) {
			if c.Execute == "add-fd0" {
				first <- c
				return
			}
			if c.Execute[:3] == "add" {
				p.take()
			}
			s.say(answer(c))
		})
		p = &passer{Conn: conn}
		c := connect(t, p, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r := c.Do(ctx, batch(0)[0]); !errors.Is(r[0].Err, context.DeadlineExceeded) {
			t.Errorf("Do() = %v, want DeadlineExceeded", r[0].Err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r := c.Do(short, batch(1)[0]); !errors.Is(r[0].Err, context.DeadlineExceeded) {
			t.Errorf("Do() while a file waits = %v, want DeadlineExceeded", r[0].Err)
		}
		p.take()
		s.say(answer(<-first))
		if r := c.Do(t.Context(), batch(2)...); r[0].Err != nil || r[1].Err != nil {
			t.Errorf("Do() once it was taken = %+v", r)
		}
		want := []string{"qmp_capabilities", "add-fd0", "add-fd2", "device_add2"}
		if diff := cmp.Diff(want, s.commands()); diff != "" || p.most != 1 {
			t.Errorf("%d files at a time; commands differ (-want +got):\n%s", p.most, diff)
		}
	})
}

// TestClient_FilesFail: whatever ends a command with a file, the next one does not wait for
// ever.
func TestClient_FilesFail(t *testing.T) {
	for name, tt := range map[string]struct {
		first Command
		end   bool
	}{
		"refused":     {Command{Name: "refuse", File: os.Stdin}, false},
		"unsendable":  {Command{Name: "add-fd0", File: os.Stdin, Args: func() {}}, false},
		"connection":  {Command{Name: "hang up", File: os.Stdin}, true},
		"unsupported": {Command{Name: "add-fd0", File: os.Stdin}, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, conn := serve(t, func(s *server, c incoming) {
				switch c.Execute {
				case "refuse":
					s.say(fmt.Sprintf(`{"error": {"class": "X", "desc": "no"}, "id": %d}`, c.ID))
				case "hang up":
					_ = s.conn.Close()
				default:
					s.say(answer(c))
				}
			})
			var p Conn = &passer{Conn: conn}
			if name == "unsupported" {
				p = conn
			}
			c := connect(t, p, nil)
			if r := c.Do(t.Context(), tt.first); r[0].Err == nil {
				t.Error("the first command succeeded")
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if r := c.Do(ended, batch(1)...); r[0].Err == nil {
				t.Error("a command of a caller that is gone succeeded")
			}
			if r := c.Do(t.Context(), batch(2)...); errdefs.IsUnavailable(r[0].Err) != tt.end || (r[0].Err == nil) == tt.end {
				t.Errorf("Do() after it = %+v", r)
			}
		})
	}
}
