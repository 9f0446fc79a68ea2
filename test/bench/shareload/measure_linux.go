package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	block  = 1 << 20
	page   = 4096
	synced = 500  // small writes that are made durable
	warm   = 2000 // small reads of what the kernel has
)

// operation is one row of the table.
type operation struct {
	name string
	cold bool // the kernel's caches are dropped before
	// do works and returns how much it did: operations, or bytes with mib.
	do  func() (int, error)
	mib bool
}

// measure returns operations per second, or MiB per second, by row.
func measure(dir string, files, mib int) (map[string]float64, error) {
	w := &work{dir: dir, files: files, mib: mib}
	rates := map[string]float64{}
	for _, op := range []operation{
		{"create", false, w.create, false},
		{"stat, cold", true, w.stat, false},
		{"ls -l, per entry", true, w.list, false},
		{"list, then stat, per entry", true, w.listThenStat, false},
		{"open, read, close", true, w.readAll, false},
		{"rename", false, w.rename, false},
		{"unlink", false, w.unlink, false},
		{"sequential write", false, w.write, true},
		{"sequential read", true, w.read, true},
		{"sequential read again", false, w.read, true},
		{"4 KiB write and fdatasync", false, w.sync, false},
		{"4 KiB read, warm", false, w.pread, false},
	} {
		if op.cold {
			if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
				return nil, err
			}
		}
		begin := time.Now()
		n, err := op.do()
		took := time.Since(begin).Seconds()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		rates[op.name] = float64(n) / took
		if op.mib {
			rates[op.name] /= 1 << 20
		}
	}
	return rates, nil
}

type work struct {
	dir        string
	files, mib int
}

func (w *work) name(i int) string { return filepath.Join(w.dir, fmt.Sprintf("file%04d", i)) }
func (w *work) big() string       { return filepath.Join(w.dir, "big") }

func (w *work) each(f func(i int) error) (int, error) {
	for i := range w.files {
		if err := f(i); err != nil {
			return 0, err
		}
	}
	return w.files, nil
}

func (w *work) create() (int, error) {
	text := bytes.Repeat([]byte("x"), 256)
	return w.each(func(i int) error { return os.WriteFile(w.name(i), text, 0o644) })
}

func (w *work) stat() (int, error) {
	return w.each(func(i int) error {
		var st unix.Stat_t
		return unix.Lstat(w.name(i), &st)
	})
}

// list does as ls -l does: it looks at each name of a block before it reads the next, by
// which a kernel may know that attributes are wanted.
func (w *work) list() (int, error) {
	fd, err := unix.Open(w.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	total, b := 0, make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, b)
		if err != nil || n == 0 {
			return total, err
		}
		_, count, names := unix.ParseDirent(b[:n], -1, nil)
		total += count
		if err := w.statAll(names); err != nil {
			return total, err
		}
	}
}

// listThenStat does as programs do that read a whole folder first.
func (w *work) listThenStat() (int, error) {
	d, err := os.Open(w.dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	return len(names), w.statAll(names)
}

func (w *work) statAll(names []string) error {
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(w.dir, name), &st); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) readAll() (int, error) {
	return w.each(func(i int) error {
		_, err := os.ReadFile(w.name(i))
		return err
	})
}

func (w *work) rename() (int, error) {
	return w.each(func(i int) error { return os.Rename(w.name(i), w.name(i)+".new") })
}

func (w *work) unlink() (int, error) {
	return w.each(func(i int) error { return os.Remove(w.name(i) + ".new") })
}

func (w *work) write() (int, error) {
	f, err := os.Create(w.big())
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := bytes.Repeat([]byte("0123456789abcdef"), block/16)
	for range w.mib {
		if _, err := f.Write(b); err != nil {
			return 0, err
		}
	}
	return w.mib * block, f.Sync()
}

func (w *work) read() (int, error) {
	f, err := os.Open(w.big())
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, b := 0, make([]byte, block)
	for {
		k, err := f.Read(b)
		n += k
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

func (w *work) sync() (int, error) {
	f, err := os.OpenFile(w.big(), os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, page)
	for i := range synced {
		if _, err := f.WriteAt(b, int64(i*7%(w.mib*block/page))*page); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return synced, nil
}

func (w *work) pread() (int, error) {
	f, err := os.Open(w.big())
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, page)
	for i := range warm {
		if _, err := f.ReadAt(b, int64(i%16)*page); err != nil {
			return 0, err
		}
	}
	return warm, nil
}
