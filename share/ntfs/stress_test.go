package ntfs

import (
	"fmt"
	"sync"
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/ntfs/ntfake"
	"github.com/porthole-run/porthole/share/posix"
)

// TestFoldersAreRenamedUnderLoad: files below a folder that is renamed all the time are
// made, written, read and removed; nothing fails and nothing is lost.
func TestFoldersAreRenamedUnderLoad(t *testing.T) {
	f := newFixture(t, ntfake.Config{NoShortNames: true})
	d := f.mkdir(f.dir, "d0")
	f.mkdir(f.dir, "other")
	const workers, rounds, renames = 4, 40, 60
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range rounds {
				if err := work(d, fmt.Sprintf("w%d-%d", w, i), i%2 == 0); err != nil {
					t.Errorf("worker %d, round %d: %v", w, i, err)
					return
				}
			}
		})
	}
	all.Go(func() {
		for i := range renames {
			flags, to := uint32(0), fmt.Sprintf("d%d", i+1)
			if i%10 == 9 {
				flags, to = posix.RENAME_EXCHANGE, "other"
			}
			if err := f.dir.Rename(fmt.Sprintf("d%d", i), f.dir, to, flags); err != nil {
				t.Errorf("rename %d: %v", i, err)
				return
			}
			if flags != 0 {
				if err := f.dir.Rename("other", f.dir, fmt.Sprintf("d%d", i), flags); err != nil {
					t.Errorf("rename %d back: %v", i, err)
					return
				}
				if err := f.dir.Rename(fmt.Sprintf("d%d", i), f.dir, fmt.Sprintf("d%d", i+1), 0); err != nil {
					t.Errorf("rename %d on: %v", i, err)
					return
				}
			}
		}
	})
	all.Wait()
	if got := len(f.names(d)); got != workers*rounds/2 {
		t.Errorf("%d files are left, want %d", got, workers*rounds/2)
	}
}

// work makes a file, writes and reads it through two handles, and removes it meanwhile when
// told so.
func work(d share.Node, name string, remove bool) error {
	n, file, _, err := d.Create(name, posix.O_RDWR|posix.O_EXCL, share.New{Mode: 0o644})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer n.Release()
	for i := range 5 {
		if _, err := file.WriteAt([]byte(name), int64(i*len(name)), false); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if remove {
		if err := d.Unlink(name); err != nil {
			return fmt.Errorf("unlink: %w", err)
		}
	}
	if a, err := n.Attr(); err != nil || a.Size != uint64(5*len(name)) {
		return fmt.Errorf("attributes %+v: %w", a, err)
	}
	second, err := n.Open(posix.O_RDONLY)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	b := make([]byte, len(name))
	if _, err := second.ReadAt(b, int64(4*len(name))); err != nil || string(b) != name {
		return fmt.Errorf("read %q: %w", b, err)
	}
	if err := second.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return file.Close()
}
