package phase

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, r := Record(t.Context())
		outer, end := Begin(ctx, "vm")
		time.Sleep(time.Second)
		err := Do(outer, "boot", func(context.Context) error {
			time.Sleep(2 * time.Second)
			return errors.New("no kernel")
		})
		end(err)
		next := Steps(ctx)
		next("mount")
		time.Sleep(3 * time.Second)
		next("start")
		time.Sleep(time.Second)
		want := []Span{
			{Name: "vm", Parent: Root, Took: 3 * time.Second, Error: "no kernel"},
			{Name: "boot", Parent: 0, Start: time.Second, Took: 2 * time.Second, Error: "no kernel"},
			{Name: "mount", Parent: Root, Start: 3 * time.Second, Took: 3 * time.Second},
			{Name: "start", Parent: Root, Start: 6 * time.Second, Took: time.Second}, // it still runs
		}
		if d := cmp.Diff(want, r.Spans()); d != "" {
			t.Errorf("phases (-want +got):\n%s", d)
		}
		next("")
		time.Sleep(time.Second)
		if got := r.Spans()[3].Took; got != time.Second {
			t.Errorf("a phase that has ended took %s, want 1s", got)
		}
	})
}

func TestRecord_None(t *testing.T) {
	ctx, end := Begin(t.Context(), "vm")
	end(nil)
	Steps(ctx)("mount")
	if b := Encode(ctx); b != nil {
		t.Errorf("Encode without a recorder: %q", b)
	}
	if err := Graft(ctx, []byte("nonsense")); err != nil {
		t.Errorf("Graft without a recorder: %v", err)
	}
}

func TestRecord_Bounded(t *testing.T) {
	ctx, r := Record(t.Context())
	for range 2 * maxSpans {
		_, end := Begin(ctx, "again")
		end(nil)
	}
	if n := len(r.Spans()); n != maxSpans {
		t.Errorf("%d phases are kept, want %d", n, maxSpans)
	}
	if b := r.Encode(); len(b) == 0 || len(b) > maxWire {
		t.Errorf("as many as can be are %d bytes", len(b))
	}
}

func TestGraft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, r := Record(t.Context())
		time.Sleep(time.Second)
		inner, end := Begin(ctx, "create")
		time.Sleep(time.Second) // the way there

		rctx, other := Record(context.Background())
		mid, endMid := Begin(rctx, "mount layers")
		_, endIn := Begin(mid, "scan")
		time.Sleep(4 * time.Second)
		endIn(nil)
		endMid(nil)
		encoded := other.Encode()

		time.Sleep(time.Second) // and back
		if err := Graft(inner, encoded); err != nil {
			t.Fatal(err)
		}
		end(nil)
		want := []Span{
			{Name: "create", Parent: Root, Start: time.Second, Took: 6 * time.Second},
			{Name: "mount layers", Parent: 0, Start: 2 * time.Second, Took: 4 * time.Second},
			{Name: "scan", Parent: 1, Start: 2 * time.Second, Took: 4 * time.Second},
		}
		if d := cmp.Diff(want, r.Spans()); d != "" {
			t.Errorf("phases (-want +got):\n%s", d)
		}
	})
}

func TestGraft_Malformed(t *testing.T) {
	for name, text := range map[string]string{
		"no json":            `{`,
		"parent of its own":  `{"spans":[{"name":"a","parent":0}]}`,
		"parent before root": `{"spans":[{"name":"a","parent":-2}]}`,
		"negative time":      `{"spans":[{"name":"a","parent":-1,"took":-1}]}`,
		"endless":            `{"took":9000000000000000000}`,
		"no name":            `{"spans":[{"name":"","parent":-1}]}`,
		"markup":             `{"spans":[{"name":"<b>","parent":-1}]}`,
		"long name":          `{"spans":[{"name":"` + strings.Repeat("a", maxName+1) + `","parent":-1}]}`,
		"too many":           `{"spans":[` + strings.Repeat(`{"name":"a","parent":-1},`, maxSpans) + `{"name":"a","parent":-1}]}`,
		"too long":           `{"spans":[]` + strings.Repeat(" ", maxWire) + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, r := Record(t.Context())
			if err := Graft(ctx, []byte(text)); !errors.Is(err, ErrMalformed) {
				t.Errorf("Graft: %v, want ErrMalformed", err)
			}
			if len(r.Spans()) != 0 {
				t.Errorf("it left %v", r.Spans())
			}
		})
	}
}

func FuzzGraft(f *testing.F) {
	f.Add([]byte(`{"took":5,"spans":[{"name":"a","parent":-1,"start":1,"took":2},{"name":"b","parent":0}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, r := Record(t.Context())
		if err := Graft(ctx, b); err != nil {
			return
		}
		for i, s := range r.Spans() {
			if s.Parent < Root || s.Parent >= i || s.Took < 0 || s.Start < 0 || !plain(s.Name) {
				t.Errorf("phase %d is %+v", i, s)
			}
		}
	})
}

func TestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		j := NewJournal(func(c Call) { told = append(told, c.Name+" "+c.Error) })
		web := Pod{ID: "1", UID: "u1", Namespace: "default", Name: "web"}
		ctx, end := j.Begin(WithTraceparent(t.Context(), "00-1-2-01"), Call{Name: "RunPodSandbox"})
		_ = Do(ctx, "vm", func(context.Context) error { time.Sleep(time.Second); return nil })
		end(web, nil)
		_, end = j.Begin(t.Context(), Call{Name: "PullImage", Image: "busybox"})
		end(Pod{UID: "u1"}, errors.New("no such image"))
		_, end = j.Begin(t.Context(), Call{Name: "PullImage"})
		end(Pod{}, nil) // by hand: of no pod
		got := j.Pods()
		if len(got) != 1 || len(got[0].Calls) != 2 || got[0].Pod != web {
			t.Fatalf("the journal has %+v", got)
		}
		run := got[0].Calls[0]
		if run.Took != time.Second || run.Traceparent != "00-1-2-01" || len(run.Spans) != 1 {
			t.Errorf("the call is %+v", run)
		}
		if d := cmp.Diff([]string{"RunPodSandbox ", "PullImage no such image", "PullImage "}, told); d != "" {
			t.Errorf("told (-want +got):\n%s", d)
		}
	})
}

func TestJournal_Bounded(t *testing.T) {
	j := NewJournal(nil)
	for i := range 2 * maxPods {
		for range 2 * maxCalls {
			_, end := j.Begin(t.Context(), Call{Name: "StartContainer"})
			end(Pod{ID: string(rune('a' + i))}, nil)
		}
	}
	pods := j.Pods()
	if len(pods) != maxPods || len(pods[0].Calls) != maxCalls {
		t.Errorf("%d pods of %d calls are kept, want %d of %d", len(pods), len(pods[0].Calls), maxPods, maxCalls)
	}
	if want := string(rune('a' + 2*maxPods - 1)); pods[0].Pod.ID != want {
		t.Errorf("the newest is %q, want %q", pods[0].Pod.ID, want)
	}
}

func TestJournal_Nil(t *testing.T) {
	var j *Journal
	ctx, end := j.Begin(t.Context(), Call{})
	end(Pod{ID: "1"}, nil)
	if Encode(ctx) != nil || j.Pods() != nil {
		t.Error("a nil journal records")
	}
}
