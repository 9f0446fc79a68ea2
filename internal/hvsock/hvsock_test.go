package hvsock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestServiceID(t *testing.T) {
	for port, want := range map[uint32]string{
		0:          "00000000-facb-11e6-bd58-64006a7986d3",
		1024:       "00000400-facb-11e6-bd58-64006a7986d3",
		0x40000000: "40000000-facb-11e6-bd58-64006a7986d3",
		0xffffffff: "ffffffff-facb-11e6-bd58-64006a7986d3",
	} {
		if got := ServiceID(port); got != want {
			t.Errorf("ServiceID(%#x) = %s, want %s", port, got, want)
		}
	}
}

func TestDial_EndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, "00000000-0000-0000-0000-000000000001", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial() = %v, want Canceled", err)
	}
}

// TestConnectLimit: a connect that cannot be given up ends with its caller's time, and never waits as long as
// Windows would.
func TestConnectLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for left, want := range map[time.Duration]time.Duration{
			0: time.Second, time.Minute: time.Second, time.Second: time.Second, 300 * time.Millisecond: 300 * time.Millisecond,
			time.Microsecond: time.Millisecond, -time.Hour: time.Millisecond,
		} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if left != 0 { // 0: no deadline
				ctx, cancel = context.WithTimeout(ctx, left)
			}
			if got := connectLimit(ctx); got != want {
				t.Errorf("with %s left: %s, want %s", left, got, want)
			}
			cancel()
		}
	})
}

func TestAddr(t *testing.T) {
	if got := (addr{}).String() + " " + (addr{"1-2", 3}).String(); got != "host 1-2:3" {
		t.Errorf("addresses are %q", got)
	}
}
