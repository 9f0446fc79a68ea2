package hostfs

import (
	"testing"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// Benchmark measures what a guest's commonest requests cost the backend itself.
func Benchmark(b *testing.B) {
	dir := b.TempDir()
	fs, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := fs.Close(); err != nil {
			b.Error(err)
		}
	})
	n, f, _, err := fs.Root().Create("f", posix.O_RDWR, share.New{Mode: 0o644})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Release()
	buf := make([]byte, 4096)
	if _, err := f.WriteAt(buf, 0, false); err != nil {
		b.Fatal(err)
	}
	for name, run := range map[string]func() error{
		"lookup": func() error {
			found, _, err := fs.Root().Lookup("f")
			if err == nil {
				found.Release()
			}
			return err
		},
		"attr":  func() error { _, err := n.Attr(); return err },
		"read":  func() error { _, err := f.ReadAt(buf, 0); return err },
		"write": func() error { _, err := f.WriteAt(buf, 0, true); return err },
		"open-close": func() error {
			opened, err := n.Open(posix.O_RDONLY)
			if err != nil {
				return err
			}
			return opened.Close()
		},
		"create-unlink": func() error {
			made, opened, _, err := fs.Root().Create("new", posix.O_RDWR|posix.O_EXCL, share.New{Mode: 0o644})
			if err != nil {
				return err
			}
			made.Release()
			if err := opened.Close(); err != nil {
				return err
			}
			return fs.Root().Unlink("new")
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if err := f.Close(); err != nil {
		b.Error(err)
	}
}
