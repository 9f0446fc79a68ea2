package procmem

import (
	"os"
	"testing"
)

func TestHeld(t *testing.T) {
	before, err := Held(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const much = 64 << 20
	b := make([]byte, much)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	after, err := Held(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// The race detector keeps notes of what is touched.
	if got := int64(after) - int64(before); got < much*9/10 || got > 5*much {
		t.Errorf("%d bytes more are held after %d were touched", got, much)
	}
	if b[4096] != 1 {
		t.Error("the memory was given back")
	}
	if n, err := Held(-1); err == nil {
		t.Errorf("a process that is not holds %d bytes", n)
	}
}

func TestSizeOf(t *testing.T) {
	const text = "55d0-7ffd ---p 0 00:00 0 [rollup]\nRss:  1432 kB\nPss:   512 kB\nPss_Dirty: 100 kB\n"
	if n, err := sizeOf([]byte(text), "Pss:"); err != nil || n != 512<<10 {
		t.Errorf("%d, %v, want 524288", n, err)
	}
	for _, bad := range []string{"", "Rss: 1 kB\nPss_Dirty: 2 kB\n", "Pss: 1\n", "Pss: x kB\n", "Pss: 1 MB\n", "Pss: 99999999999999999999 kB\n"} {
		if n, err := sizeOf([]byte(bad), "Pss:"); err == nil {
			t.Errorf("sizeOf(%q) is %d, want an error", bad, n)
		}
	}
}

func TestAvailable(t *testing.T) {
	n, err := Available()
	if err != nil || n < 16<<20 || n > 1<<50 {
		t.Errorf("%d bytes are available, %v", n, err)
	}
}
