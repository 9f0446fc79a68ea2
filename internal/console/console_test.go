package console

import (
	"strings"
	"testing"
)

func TestRing(t *testing.T) {
	r := NewRing(8)
	for _, tc := range []struct{ write, want string }{
		{"", ""}, {"abc", "abc"}, {"defgh", "abcdefgh"}, {"i", "bcdefghi"},
		{"0123456789", "23456789"}, {"ab", "456789ab"}, {"cdefghi", "bcdefghi"},
	} {
		if n, err := r.Write([]byte(tc.write)); n != len(tc.write) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", tc.write, n, err)
		}
		if got := string(r.Bytes()); got != tc.want {
			t.Errorf("after %q: %q, want %q", tc.write, got, tc.want)
		}
	}
}

func TestTail(t *testing.T) {
	in := "init: bad disk\r\n[ 1.0] Kernel panic - not syncing: Attempted to kill init!\r\n[ 1.1] CPU: 0\r\n[ 1.2] stack\r\n"
	want := "console:\n  init: bad disk\n  [ 1.0] Kernel panic - not syncing: Attempted to kill init!"
	if got := Tail([]byte(in)); got != want {
		t.Errorf("Tail() = %q, want %q", got, want)
	}
	if got, want := PanicLine([]byte(in)), "Kernel panic - not syncing: Attempted to kill init!"; got != want {
		t.Errorf("PanicLine() = %q, want %q", got, want)
	}
	if got := Tail(nil); !strings.Contains(got, "nothing") {
		t.Errorf("Tail(nil) = %q", got)
	}
}
