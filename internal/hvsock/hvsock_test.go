package hvsock

import (
	"context"
	"errors"
	"testing"
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

func TestAddr(t *testing.T) {
	if got := (addr{}).String() + " " + (addr{"1-2", 3}).String(); got != "host 1-2:3" {
		t.Errorf("addresses are %q", got)
	}
}
