package winsvc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scm is the other end of a handshake: it keeps what it was told.
type scm struct {
	start    time.Time
	controls chan control
	told     []string
}

func (s *scm) tell(r report) {
	name := map[phase]string{starting: "starting", running: "running", stopping: "stopping"}[r.phase]
	s.told = append(s.told, fmt.Sprintf("%v %s %d %v", time.Since(s.start), name, r.checkpoint, r.hint))
}

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scm{start: time.Now(), controls: make(chan control)}
		go func() {
			time.Sleep(5 * time.Second)
			s.controls <- interrogate
			time.Sleep(time.Second)
			s.controls <- end
			s.controls <- end // the system shuts down as well
			s.controls <- interrogate
		}()
		err := handshake(t.Context(), s.controls, s.tell, func(ctx context.Context, ready func()) error {
			time.Sleep(3 * time.Second)
			ready()
			ready()
			<-ctx.Done()
			time.Sleep(3 * time.Second) // calls that run end first
			return nil
		})
		if err != nil {
			t.Errorf("handshake = %v", err)
		}
		want := []string{
			"0s starting 0 10s", "2s starting 1 10s", "3s running 0 0s", "5s running 0 0s",
			"6s stopping 0 10s", "6s stopping 0 10s", "6s stopping 0 10s", "8s stopping 1 10s",
		}
		// A beat at 6 s may come before or after the request of that moment.
		if len(s.told) == len(want)+1 {
			want = append(want[:7:7], "6s stopping 1 10s", "8s stopping 2 10s")
		}
		if diff := cmp.Diff(want, s.told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

func TestHandshake_WorkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scm{start: time.Now(), controls: make(chan control)}
		want := errors.New("no bundle")
		err := handshake(t.Context(), s.controls, s.tell, func(context.Context, func()) error { return want })
		if !errors.Is(err, want) {
			t.Errorf("handshake = %v, want what work returned", err)
		}
		if diff := cmp.Diff([]string{"0s starting 0 10s"}, s.told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// TestHandshake_StopWhileStarting ends work before it serves; that it serves late is not told.
func TestHandshake_StopWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scm{start: time.Now(), controls: make(chan control)}
		go func() {
			time.Sleep(time.Second)
			s.controls <- end
		}()
		err := handshake(t.Context(), s.controls, s.tell, func(ctx context.Context, ready func()) error {
			<-ctx.Done()
			time.Sleep(time.Millisecond)
			ready()
			time.Sleep(time.Millisecond)
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("handshake = %v", err)
		}
		if diff := cmp.Diff([]string{"0s starting 0 10s", "1s stopping 0 10s"}, s.told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}
