package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// rootFS opens files below a container's root as the container itself would see them:
// links, absolute ones too, never lead out of it.
type rootFS struct {
	fd       int
	uid, gid int // who owns what is made, when it is not root
}

func openRoot(dir string) (rootFS, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return rootFS{}, fmt.Errorf("open root file system: %w", err)
	}
	return rootFS{fd: fd}, nil
}

func (r rootFS) close() { unix.Close(r.fd) }

func (r rootFS) openat(name string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(r.fd, name, &unix.OpenHow{
			Flags:   flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != unix.EAGAIN && err != unix.EINTR { // a rename in the tree
			return fd, err
		}
	}
}

// open opens a regular file to be read. One that is not there is empty.
func (r rootFS) open(name string) (io.ReadCloser, error) {
	fd, err := r.openat(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if err != nil {
		return nil, invalid("open the image's %s: %v", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, invalid("the image's %s is not a regular file", name)
	}
	return f, nil
}

// mkdirAll makes a folder and those above it.
func (r rootFS) mkdirAll(name string) error {
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			return nil
		}
		next := path.Join(at, part)
		fd, err := r.openat(next, unix.O_PATH|unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			err = r.mkdir(at, part)
		} else if err == nil {
			unix.Close(fd)
		}
		if err != nil {
			return invalid("working directory %s: %s: %v", name, next, err)
		}
		at = next
	}
	return nil
}

func (r rootFS) mkdir(dir, name string) error {
	fd, err := r.openat(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Mkdirat(fd, name, 0o755); err != nil {
		return err
	}
	if r.uid == 0 && r.gid == 0 {
		return nil
	}
	return unix.Fchownat(fd, name, r.uid, r.gid, unix.AT_SYMLINK_NOFOLLOW)
}
