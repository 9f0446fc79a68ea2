package testneed

import (
	"fmt"
	"path/filepath"
	"testing"
)

// recorder is a test that notes how it ended first: unlike the real one it goes on.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}

func (r *recorder) end(how, text string) {
	if r.said == "" {
		r.said = how + ": " + text
	}
}

func (r *recorder) Fatalf(format string, args ...any) { r.end("fatal", fmt.Sprintf(format, args...)) }
func (r *recorder) Skipf(format string, args ...any)  { r.end("skip", fmt.Sprintf(format, args...)) }
func (r *recorder) Skip(args ...any)                  { r.end("skip", fmt.Sprint(args...)) }

func TestNeeds(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		name         string
		need         func(testing.TB)
		strict, long string
		want         string
	}{
		{"skip", func(t testing.TB) { Skip(t, "%d disks", 3) }, "", "", "skip: this test needs 3 disks"},
		{"strict", func(t testing.TB) { Skip(t, "%d disks", 3) }, "1", "", "fatal: this test needs 3 disks"},
		{"program", func(t testing.TB) { Program(t, missing) }, "", "", "skip: this test needs the program " + missing + ": "},
		{"file", func(t testing.TB) { File(t, t.TempDir(), missing) }, "1", "", "fatal: this test needs a file: "},
		{"file-there", func(t testing.TB) { File(t, t.TempDir()) }, "1", "", ""},
		{"long", func(t testing.TB) { Long(t) }, "1", "", "skip: takes minutes: PORTHOLE_LONG=1 runs it"},
		{"long-run", func(t testing.TB) { Long(t) }, "1", "1", ""},
		{"within", func(t testing.TB) { Within(t, false, "TestX") }, "1", "", "skip: is run by TestX"},
		{"within-started", func(t testing.TB) { Within(t, true, "TestX") }, "1", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(strictVar, tt.strict)
			t.Setenv(longVar, tt.long)
			r := &recorder{TB: t}
			tt.need(r)
			if len(r.said) < len(tt.want) || r.said[:len(tt.want)] != tt.want || (tt.want == "") != (r.said == "") {
				t.Errorf("said %q, want %q", r.said, tt.want)
			}
		})
	}
}
