package event

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func number(seq uint64) uint64 { return seq }

func TestLog_Since(t *testing.T) {
	l := NewLog[uint64](3)
	if b, last, _ := l.since(0); len(b) != 0 || last != 0 {
		t.Errorf("an empty log = %v, %d", b, last)
	}
	for range 5 {
		l.Add(number)
	}
	for after, want := range map[uint64][]uint64{
		0: {3, 4, 5}, 2: {3, 4, 5}, 3: {4, 5}, 5: nil, 6: {3, 4, 5}, math.MaxUint64: {3, 4, 5},
	} {
		got, last, _ := l.since(after)
		if d := cmp.Diff(want, got); d != "" || last != 5 {
			t.Errorf("since(%d) = %v, last %d, want %v, 5", after, got, last, want)
		}
	}
}

func TestLog_Follow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog[uint64](1024)
		l.Add(number)
		ctx, cancel := context.WithCancel(t.Context())
		var got []uint64
		done := make(chan error, 1)
		go func() {
			done <- l.Follow(ctx, 0, func(n uint64) error { got = append(got, n); return nil })
		}()
		synctest.Wait()
		l.Add(number)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow = %v, want Canceled", err)
		}
		if d := cmp.Diff([]uint64{1, 2}, got); d != "" {
			t.Error(d)
		}
	})
}

func TestLog_FollowSendFails(t *testing.T) {
	l := NewLog[uint64](4)
	l.Add(number)
	boom := errors.New("boom")
	if err := l.Follow(t.Context(), 0, func(uint64) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Follow = %v, want %v", err, boom)
	}
}
