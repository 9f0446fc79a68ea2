package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/fusemount"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "shareload:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("shareload", flag.ContinueOnError)
	dir := f.String("dir", "", "folder to work in")
	fuse := f.String("fuse", "", "address of a share's server, to be mounted on the folder")
	plan9 := f.String("9p", "", "address of a 9P server, to be mounted on the folder")
	aname := f.String("aname", "", "what the 9P server calls its folder")
	relay := f.String("relay", "/relay", "the relay")
	files := f.Int("files", 1000, "files of the operations on names")
	size := f.Int("mib", 16, "size of the large file")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case *fuse != "":
		unmount, err := mountShare(ctx, *dir, *fuse, *relay)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unmount()) }()
	case *plan9 != "":
		unmount, err := mount9P(*dir, *plan9, *aname)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, unmount()) }()
	}
	work := filepath.Join(*dir, "shareload")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	rates, err := measure(work, *files, *size)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(os.Stdout).Encode(rates), os.RemoveAll(work))
}

// dial returns a connection as a descriptor that blocks, for the kernel or the relay.
func dial(addr string) (*os.File, error) {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	f.Fd() // makes it block
	return f, nil
}

func mountShare(ctx context.Context, dir, addr, relay string) (func() error, error) {
	// A container has no such device of its own, but one that may do anything can make it.
	if err := unix.Mknod("/dev/fuse", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 229))); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make /dev/fuse: %w", err)
	}
	stream, err := dial(addr)
	if err != nil {
		return nil, err
	}
	m, err := fusemount.New(ctx, fusemount.Config{Relay: relay, Start: fusemount.Start, Stream: stream, Dir: dir})
	if err != nil {
		return nil, err
	}
	return func() error { return m.Unmount(ctx) }, nil
}

// mount9P mounts without a cache, which is the one mode of 9P in
// which two see the same files.
func mount9P(dir, addr, aname string) (func() error, error) {
	stream, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer stream.Close() // the kernel has its own
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	options := fmt.Sprintf("trans=fd,rfdno=%d,wfdno=%d,version=9p2000.L,msize=1048576,cache=none,access=user,uname=root,aname=%s", stream.Fd(), stream.Fd(), aname)
	if err := unix.Mount("none", dir, "9p", 0, options); err != nil {
		return nil, fmt.Errorf("mount 9p: %w", err)
	}
	return func() error { return unix.Unmount(dir, 0) }, nil
}
