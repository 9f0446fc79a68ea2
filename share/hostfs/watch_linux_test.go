package hostfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

var kinds = map[share.EventKind]string{
	share.EventCreate: "create", share.EventRemove: "remove", share.EventRename: "rename", share.EventModify: "modify",
	share.EventClose: "close", share.EventAttrib: "attrib", share.EventOverflow: "overflow",
}

var origins = map[share.Origin]string{share.OriginUnknown: "unknown", share.OriginOwn: "own", share.OriginForeign: "foreign"}

// text is an event as the tests compare it. A close may or may not be joined with what
// comes before, so that order is the kernel's.
func text(e share.Event) string {
	s := fmt.Sprintf("%s %s %q", origins[e.Origin], kinds[e.Kind], e.Name)
	if e.Kind == share.EventRename {
		s += fmt.Sprintf(" %q", e.NewName)
	}
	if e.IsDir {
		s += " dir"
	}
	return s
}

// next returns the events until there is one that done accepts.
func next(t *testing.T, fs *FS, done func(share.Event) bool) []share.Event {
	t.Helper()
	var list []share.Event
	limit := time.After(10 * time.Second)
	for {
		select {
		case e := <-fs.Events():
			list = append(list, e)
			if done(e) {
				return list
			}
		case <-limit:
			t.Fatalf("waited for an event in vain after %d others", len(list))
		}
	}
}

// engines are the ways to watch.
var engines = map[string]struct {
	prepare func(*testing.T, *FS)
	foreign string
	own     string
}{
	"fanotify": {func(t *testing.T, fs *FS) {
		fan, err := newFanotify(fs.watch)
		if err != nil {
			testneed.Skip(t, "fanotify: %v", err)
		}
		_ = fan.queue.Close()
	}, "foreign", "own"},
	"inotify": {func(t *testing.T, fs *FS) { fs.watch.noFan = true }, "unknown", "unknown"},
}

func TestWatch(t *testing.T) {
	testneed.Root(t)
	testneed.Program(t, "sh")
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			fs := open(t, dir, Options{})
			engine.prepare(t, fs)
			sub, _, err := fs.Root().Lookup("sub")
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Release()
			for range 2 {
				for _, n := range []share.Node{fs.Root(), sub} {
					if err := fs.Watch(n); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, step := range []struct {
				do   string
				want []string
			}{
				{": > a", []string{`create "a"`, `close "a"`}},
				{"echo x >> a", []string{`modify "a"`, `close "a"`}},
				{"chmod 600 a", []string{`attrib "a"`}},
				{"mv a b", []string{`rename "a" "b"`}},
				{"mv b sub/c", []string{`rename "b" "c"`}},
				{"mkdir d", []string{`create "d" dir`}},
				{"mv sub/c d/c", []string{`remove "c"`}},
				{"mv d/c a", []string{`create "a"`}},
				{"rmdir d", []string{`remove "d" dir`}},
				{"ln -s v1 ..new; mv -T ..new ..data", []string{`create "..new"`, `rename "..new" "..data"`}},
				{"rm a", []string{`remove "a"`}},
				{"chmod 700 .", []string{`attrib "" dir`}},
				{"rmdir sub", []string{`remove "sub" dir`}},
			} {
				cmd := exec.Command("sh", "-c", step.do+"; mkdir end; rmdir end")
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%s: %v %s", step.do, err, out)
				}
				list := next(t, fs, func(e share.Event) bool { return e.Name == "end" && e.Kind == share.EventRemove })
				var got []string
				for _, e := range list {
					if e.Name != "end" {
						got = append(got, text(e))
					}
				}
				if !matches(got, step.want, engine.foreign) {
					t.Errorf("%s: %q, want %q", step.do, got, step.want)
				}
			}
			n, f, _, err := fs.Root().Create("own", posix.O_WRONLY|posix.O_EXCL, share.New{Mode: 0o644})
			if err != nil {
				t.Fatal(err)
			}
			defer n.Release()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			for _, e := range next(t, fs, func(e share.Event) bool { return e.Kind == share.EventClose }) {
				if origins[e.Origin] != engine.own {
					t.Errorf("own change: %s", text(e))
				}
				if engine.own == "own" && e.ID != n.ID() {
					t.Errorf("%s: identity %v, want %v", text(e), e.ID, n.ID())
				}
			}
			fs.Unwatch(fs.Root())
			fs.Unwatch(fs.Root())

			// Nobody holds this one when it goes, so that it tells of that itself.
			gone := mkdir(t, fs.Root(), "gone")
			if err := fs.Watch(gone); err != nil {
				t.Fatal(err)
			}
			gone.Release()
			if err := os.Remove(filepath.Join(dir, "gone")); err != nil {
				t.Fatal(err)
			}
			next(t, fs, func(e share.Event) bool {
				return e.Kind == share.EventRemove && e.Name == "" && e.Dir == gone.ID()
			})
		})
	}
}

func mkdir(t *testing.T, in share.Node, name string) share.Node {
	t.Helper()
	n, _, err := in.Mkdir(name, share.New{Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// matches tells whether got are the events of want, in any order: the kernel may join
// what one process did to one name.
func matches(got, want []string, origin string) bool {
	seen := map[string]bool{}
	for _, g := range got {
		seen[g] = true
	}
	for _, w := range want {
		if !seen[origin+" "+w] {
			return false
		}
		delete(seen, origin+" "+w)
	}
	return len(seen) == 0
}

// TestWatchOverflow: what does not fit is told of honestly, and nothing blocks.
func TestWatchOverflow(t *testing.T) {
	testneed.Root(t)
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			dir := mountTmpfs(t, "size=16m")
			fs := open(t, dir, Options{})
			engine.prepare(t, fs)
			if err := fs.Watch(fs.Root()); err != nil {
				t.Fatal(err)
			}
			again := filepath.Join(dir, "again")
			for range 20000 {
				if err := os.Mkdir(again, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(again); err != nil {
					t.Fatal(err)
				}
			}
			next(t, fs, func(e share.Event) bool { return e.Kind == share.EventOverflow })
		})
	}
}

// TestWatchBurst: a thousand files at once, and not one is missed.
func TestWatchBurst(t *testing.T) {
	for name, engine := range engines {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fs := open(t, dir, Options{})
			engine.prepare(t, fs)
			if err := fs.Watch(fs.Root()); err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for i := range 1000 {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			next(t, fs, func(e share.Event) bool {
				if e.Kind == share.EventCreate {
					seen[e.Name] = true
				}
				return e.Name == "999" && e.Kind == share.EventClose
			})
			if len(seen) != 1000 {
				t.Errorf("saw %d files, want 1000", len(seen))
			}
		})
	}
}
