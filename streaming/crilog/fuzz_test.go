package crilog

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
)

// FuzzLog checks that joining the records gives back the input, whatever it is, in
// whatever pieces it comes, and that no record is over the limit.
func FuzzLog(f *testing.F) {
	f.Add([]byte("hello\nworld"), uint8(3), uint8(4))
	f.Add([]byte(""), uint8(0), uint8(0))
	f.Add([]byte("\n\n\r\n"), uint8(1), uint8(1))
	f.Add([]byte(strings.Repeat("0123456789", 30)+"\n"), uint8(16), uint8(7))
	f.Add([]byte("stdout F x\nstdout P y"), uint8(200), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, limit, piece uint8) {
		disk := &fullDisk{room: 1 << 30}
		l := newFake(disk, slog.New(slog.DiscardHandler))
		l.maxLine = int(limit) + 1
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			l.Stdout().Write(rest[:n])
			l.Stderr().Write(rest[:n])
			rest = rest[n:]
		}
		l.Close()
		rs := records(t, disk.String())
		for _, stream := range []string{"stdout", "stderr"} {
			if got := joined(rs, stream); got != string(data) {
				t.Errorf("%s = %q, want %q", stream, got, data)
			}
		}
		for _, r := range rs {
			if len(r.text) > l.maxLine {
				t.Errorf("record of %d bytes, limit %d", len(r.text), l.maxLine)
			}
		}
	})
}

func TestWrite_DoesNotAllocate(t *testing.T) {
	disk := &discard{}
	l := newFake(disk, slog.New(slog.DiscardHandler))
	p := bytes.Repeat([]byte("a line of a common length, as programs write\n"), 100)
	out := l.Stdout()
	if n := testing.AllocsPerRun(100, func() { out.Write(p) }); n > 0 {
		t.Errorf("%v allocations a write, want none", n)
	}
}

type discard struct{ fullDisk }

func (*discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkWrite(b *testing.B) {
	for _, bm := range []struct {
		name  string
		lines int
	}{{"1_line", 1}, {"700_lines", 700}} {
		b.Run(bm.name, func(b *testing.B) {
			l, err := Open(b.TempDir()+"/0.log", Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			p := bytes.Repeat([]byte("a line of a common length, as programs write\n"), bm.lines)
			out := io.Writer(l.Stdout())
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				out.Write(p)
			}
			b.ReportMetric(float64(b.N*bm.lines)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}
