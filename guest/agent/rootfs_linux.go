package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
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
			return invalid("%s: %s: %v", name, next, err)
		}
		at = next
	}
	return nil
}

// makeVolume makes a folder that the image calls a volume, where links of the image lead. Of
// one that is no folder there nothing is made: the image has it as it wants it.
func (r rootFS) makeVolume(name string) error {
	if to, leads, err := r.dangling(name); err != nil {
		return err
	} else if leads {
		name = to
	}
	fd, err := r.openat(name, unix.O_PATH)
	if err == nil {
		unix.Close(fd)
		return nil
	}
	return r.mkdirAll(name)
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

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// dangling returns where a path leads that ends in, or leads through, a link to what is
// not there: a path without links that is to be made. It returns false for other paths.
// One that can lead nowhere is the caller's fault.
func (r rootFS) dangling(name string) (string, bool, error) {
	fd, err := r.openat(name, unix.O_PATH)
	if err == nil {
		unix.Close(fd)
		return "", false, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return "", false, invalid("%s in the image: %v", name, err)
	}
	to, err := r.follow(name)
	return to, err == nil && to != path.Clean(name), err
}

// follow resolves all links of a path, of which the rest need not be there.
func (r rootFS) follow(name string) (string, error) {
	at, links := "/", 0
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		next := path.Join(at, part) // ".." of the root is the root
		to, err := r.readlink(next)
		switch {
		case err != nil:
			return "", invalid("%s in the image: %v", name, err)
		case to == "":
			at = next
			continue
		case links == maxLinks:
			return "", invalid("%s in the image: %v", name, unix.ELOOP)
		case path.IsAbs(to):
			at = "/"
		}
		links++
		rest = append(strings.Split(to, "/"), rest...)
	}
	return at, nil
}

// readlink returns where a link leads; empty for what is no link, or not there. Only the
// last part of name may be a link.
func (r rootFS) readlink(name string) (string, error) {
	fd, err := r.openat(name, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // which the kernel says of a file, and of a folder
		return "", nil
	}
	return string(b[:max(n, 0)]), err
}

// leadMounts makes mounts whose paths lead through dangling links of the image, such as an
// /etc/resolv.conf that systemd made, lead to what the links name: the OCI runtime makes
// what is missing there, and would not do so through a link. What lies in another mount
// is not the image's.
func leadMounts(dir string, mounts []specs.Mount) error {
	root, err := openRoot(dir)
	if err != nil {
		return err
	}
	defer root.close()
	for i := range mounts {
		m := &mounts[i]
		inside := slices.ContainsFunc(mounts, func(o specs.Mount) bool {
			return o.Destination != "/" && strings.HasPrefix(m.Destination, strings.TrimSuffix(o.Destination, "/")+"/")
		})
		if inside {
			continue
		}
		to, dangles, err := root.dangling(m.Destination)
		if err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		if dangles {
			m.Destination = to
		}
	}
	return nil
}
