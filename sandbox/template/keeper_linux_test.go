package template

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// builder stands in for VMs that boot.
type builder struct {
	calls []string
	err   error
	hold  chan struct{} // nil: builds take no time

	scratch func(*os.File) error // fills the disk
}

func (b *builder) build(ctx context.Context, c Class, f Files) error {
	b.calls = append(b.calls, c.String())
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			b.calls = append(b.calls, "stopped")
			return ctx.Err()
		}
	}
	if b.err != nil {
		return b.err
	}
	if _, err := f.Memory.WriteAt([]byte("memory"), 4096); err != nil {
		return err
	}
	if b.scratch != nil {
		if err := b.scratch(f.Scratch); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(f.State, "state %d", len(b.calls))
	return err
}

// built is what was built since it was asked last.
func (b *builder) built() string {
	s := strings.Join(b.calls, "; ")
	b.calls = nil
	return s
}

// newKeeper starts a keeper of the class 1 CPU, 256 MiB; its one file is returned.
func newKeeper(t *testing.T, b *builder, kept ...Class) (*Keeper, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kernel")
	write(t, file, "kernel 1")
	if kept == nil {
		kept = []Class{{1, 256}}
	}
	k := New(Config{Classes: kept, Build: b.build, Files: []string{file}, Facts: "qemu"})
	k.Start(t.Context())
	t.Cleanup(k.Close)
	synctest.Wait()
	return k, file
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// taken takes a template, reports err on it and closes it; "" when there was none.
func taken(t *testing.T, k *Keeper, s Size, err error) string {
	t.Helper()
	l := k.Take(s)
	if l == nil {
		synctest.Wait() // what is made for those who ask later
		return ""
	}
	defer synctest.Wait()
	defer l.Close()
	l.Report(err)
	return l.Class.String() + " " + l.ID
}

func size(vcpus, memory int) Size { return Size{Class: Class{vcpus, memory}} }

func wantStatus(t *testing.T, k *Keeper, want string) {
	t.Helper()
	var b strings.Builder
	s := k.Status()
	for _, c := range s.Classes {
		fmt.Fprintf(&b, "%v: %s %s\n", c.Class, c.State, c.Error)
	}
	fmt.Fprintf(&b, "%+v", s.Counts)
	if b.String() != want {
		t.Errorf("status:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestKeeper_Take(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{}
		k, _ := newKeeper(t, b, Class{2, 512}, Class{1, 256}, Class{2, 512})
		if got, want := b.built(), "1 CPU, 256 MiB; 2 CPU, 512 MiB"; got != want {
			t.Errorf("built %q at the start, want %q", got, want)
		}
		l := k.Take(size(1, 192))
		if l == nil {
			t.Fatal("no template")
		}
		defer l.Close()
		k.Close() // what was taken stays
		state, err := io.ReadAll(io.NewSectionReader(l.State, 0, 100))
		if err != nil || string(state) != "state 1" || l.Class != (Class{1, 256}) {
			t.Errorf("template %v has state %q, %v", l.Class, state, err)
		}
		if st, err := l.Memory.Stat(); err != nil || st.Size() != 256<<20 {
			t.Errorf("memory is %v, %v", st, err)
		}
		for name, f := range map[string]*os.File{"memory": l.Memory, "state": l.State} {
			if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
				t.Errorf("write to %s = %v, want EPERM", name, err)
			}
		}
		if k.Take(size(1, 192)) != nil {
			t.Error("a closed keeper gives templates")
		}
	})
}

// TestKeeper_Scratch: the disk of a template is closed against changes too, and a part of what
// the template is known by.
func TestKeeper_Scratch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ids := map[string]bool{}
		for _, content := range []string{"one", "two", ""} {
			b := &builder{scratch: func(f *os.File) error {
				if content == "" {
					return f.Truncate(0) // there is to be none
				}
				_, err := f.WriteAt([]byte(content), 8192)
				return err
			}}
			k := New(Config{Classes: []Class{{1, 16}}, Build: b.build, ScratchBytes: 1 << 30})
			k.Start(t.Context())
			synctest.Wait()
			l := k.Take(size(1, 16))
			if l == nil {
				t.Fatal(k.Status())
			}
			ids[l.ID] = true
			k.Close()
			if content == "" {
				if l.Scratch != nil {
					t.Error("a template without a disk has one")
				}
				l.Close()
				continue
			}
			if _, err := l.Scratch.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
				t.Errorf("write to the disk = %v, want EPERM", err)
			}
			got := make([]byte, len(content))
			if _, err := l.Scratch.ReadAt(got, 8192); err != nil || string(got) != content {
				t.Errorf("the disk has %q, %v; want %q", got, err, content)
			}
			if st, err := l.Scratch.Stat(); err != nil || st.Size() != 1<<30 {
				t.Errorf("the disk is %v, %v", st, err)
			}
			l.Close()
		}
		if len(ids) != 3 {
			t.Errorf("templates with different disks have the ids %v", ids)
		}
	})
}

func TestKeeper_AnotherSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{}
		k, _ := newKeeper(t, b)
		b.built()
		if got := taken(t, k, size(2, 700), nil); got != "" {
			t.Errorf("took %s before it was made", got)
		}
		if got, want := b.built(), "2 CPU, 1024 MiB"; got != want {
			t.Errorf("built %q, want %q", got, want)
		}
		if got := taken(t, k, size(2, 900), nil); !strings.HasPrefix(got, "2 CPU, 1024 MiB ") {
			t.Errorf("took %q", got)
		}
		wantStatus(t, k, "1 CPU, 256 MiB: ready \n2 CPU, 1024 MiB: ready \n{Clones:1 Boots:1 Fallbacks:0}")
	})
}

// TestKeeper_Room: there are so many classes, and the one asked for longest ago goes, but
// not one that is kept.
func TestKeeper_Room(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{}
		k, _ := newKeeper(t, b)
		b.built()
		for n := range maxClasses {
			time.Sleep(time.Second)
			taken(t, k, size(1<<n, 32<<n), nil)
		}
		taken(t, k, size(1, maxWantedMiB+1), nil)
		var got []Class
		for _, c := range k.Status().Classes {
			got = append(got, c.Class)
		}
		want := []Class{{2, 64}, {4, 128}, {1, 256}, {8, 256}, {16, 512}, {32, 1024}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("classes (-want +got):\n%s", diff)
		}
	})
}

func TestKeeper_CloneFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{}
		k, _ := newKeeper(t, b)
		first := taken(t, k, size(1, 256), errors.New("does not load"))
		if got, want := b.built(), "1 CPU, 256 MiB; 1 CPU, 256 MiB"; got != want {
			t.Errorf("built %q, want it again at once", got)
		}
		second := taken(t, k, size(1, 256), errors.New("nor this"))
		if first == "" || second == "" || first == second {
			t.Errorf("took %q, then %q", first, second)
		}
		if got := b.built(); got != "" {
			t.Errorf("built %q at once after a second failure", got)
		}
		wantStatus(t, k, "1 CPU, 256 MiB: failed nor this\n{Clones:0 Boots:0 Fallbacks:2}")
		time.Sleep(firstRetry)
		if got := taken(t, k, size(1, 256), nil); got != "" {
			t.Errorf("took %q", got)
		}
		if got := taken(t, k, size(1, 256), nil); got == "" {
			t.Error("no template though its time has come")
		}
		wantStatus(t, k, "1 CPU, 256 MiB: ready \n{Clones:1 Boots:1 Fallbacks:2}")
		b.built()
		// It worked: the next failure is the first again.
		taken(t, k, size(1, 256), errors.New("once more"))
		if got, want := b.built(), "1 CPU, 256 MiB"; got != want {
			t.Errorf("built %q, want it again at once", got)
		}
	})
}

// TestKeeper_LateReport: what becomes of an old template's clone does not harm a new one.
func TestKeeper_LateReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{}
		k, file := newKeeper(t, b)
		l := k.Take(size(1, 256))
		defer l.Close()
		write(t, file, "kernel 2")
		taken(t, k, size(1, 256), nil)
		b.built()
		l.Report(errors.New("too late"))
		synctest.Wait()
		if got := b.built(); got != "" {
			t.Errorf("built %q", got)
		}
		if got := taken(t, k, size(1, 256), nil); got == "" {
			t.Error("no template")
		}
	})
}

func TestKeeper_BuildFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{err: errors.New("no kernel")}
		k, _ := newKeeper(t, b)
		// At once, then after growing waits.
		if got, want := b.built(), "1 CPU, 256 MiB; 1 CPU, 256 MiB"; got != want {
			t.Errorf("built %q, want two attempts", got)
		}
		wantStatus(t, k, "1 CPU, 256 MiB: failed no kernel\n{Clones:0 Boots:0 Fallbacks:0}")
		for i, wait := range []time.Duration{firstRetry, 2 * firstRetry, 4 * firstRetry} {
			time.Sleep(wait - time.Second)
			taken(t, k, size(1, 256), nil)
			if got := b.built(); got != "" {
				t.Errorf("%d: built %q before its time", i, got)
			}
			time.Sleep(time.Second)
			taken(t, k, size(1, 256), nil)
			if got, want := b.built(), "1 CPU, 256 MiB"; got != want {
				t.Errorf("%d: built %q, want %q", i, got, want)
			}
		}
	})
}

// TestKeeper_InputsChange: templates of a kernel that was replaced are not used, and made
// anew; one that was replaced by the same is used again.
func TestKeeper_InputsChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{}
		k, file := newKeeper(t, b)
		b.built()
		first := taken(t, k, size(1, 256), nil)

		write(t, file, "kernel 1")
		if got := taken(t, k, size(1, 256), nil); got != "" {
			t.Errorf("took %q before the file was read", got)
		}
		if got := taken(t, k, size(1, 256), nil); got != first || b.built() != "" {
			t.Errorf("took %q, want %q again", got, first)
		}

		write(t, file, "kernel 2")
		if got := taken(t, k, size(1, 256), nil); got != "" {
			t.Errorf("took %q before the file was read", got)
		}
		if got, want := b.built(), "1 CPU, 256 MiB"; got != want {
			t.Errorf("built %q, want %q", got, want)
		}
		if got := taken(t, k, size(1, 256), nil); got == "" || got == first {
			t.Errorf("took %q of another kernel, was %q", got, first)
		}

		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got := taken(t, k, size(1, 256), nil); got != "" {
				t.Errorf("took %q without a kernel", got)
			}
		}
		write(t, file, "kernel 1")
		taken(t, k, size(1, 256), nil)
		if got := taken(t, k, size(1, 256), nil); got == "" {
			t.Error("no template though the kernel is back")
		}
	})
}

// TestKeeper_CloseWhileBuilding: the build is ended and waited for.
func TestKeeper_CloseWhileBuilding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &builder{hold: make(chan struct{})}
		k, _ := newKeeper(t, b)
		if got := taken(t, k, size(1, 256), nil); got != "" {
			t.Errorf("took %q while it was built", got)
		}
		wantStatus(t, k, "1 CPU, 256 MiB: waiting \n{Clones:0 Boots:1 Fallbacks:0}")
		k.Close()
		if got, want := b.built(), "1 CPU, 256 MiB; stopped"; got != want {
			t.Errorf("built %q, want %q", got, want)
		}
	})
}
