package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// fileSystemSize bounds what both runtimes may write; the file behind it is sparse.
const fileSystemSize = 16 << 30

// sharedFolders are those that containerd, runc and the CNI plugins use wherever their
// own folders are.
var sharedFolders = []string{"/run/containerd", "/var/lib/cni"}

// isolate sees that this process is in a network of its own, hides the folders that a
// containerd of the machine uses, and mounts a fresh file system, which it returns.
func isolate(ctx context.Context, u *undo) (dir string, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback == 0 && l.Flags&net.FlagUp != 0 {
			return "", fmt.Errorf("%s is up, so this is the machine's network: run the benchmark through scripts/netns.sh", l.Name)
		}
	}
	for _, folder := range sharedFolders {
		if err := mountOver(ctx, u, folder); err != nil {
			return "", err
		}
	}
	return fileSystem(ctx, u)
}

// mountOver hides a folder behind an empty one.
func mountOver(ctx context.Context, u *undo, folder string) error {
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		u.add(func() error { return os.Remove(folder) })
	}
	if err := command(ctx, "mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder); err != nil {
		return err
	}
	u.add(func() error { return unmount(folder) })
	return nil
}

// fileSystem makes an ext4 in a sparse file and mounts it: unpacking many files takes
// several times longer on one where many were removed before.
func fileSystem(ctx context.Context, u *undo) (string, error) {
	// The path is short, since sockets are below it.
	dir, err := os.MkdirTemp("", "pb")
	if err != nil {
		return "", err
	}
	u.add(func() error { return os.Remove(dir) })
	// QEMU's user must be able to reach what is below.
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	image := dir + ".ext4"
	f, err := os.Create(image)
	if err != nil {
		return "", err
	}
	u.add(func() error { return os.Remove(image) })
	if err := errors.Join(f.Truncate(fileSystemSize), f.Close()); err != nil {
		return "", err
	}
	if err := command(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image); err != nil {
		return "", err
	}
	if err := command(ctx, "mount", "-o", "loop", image, dir); err != nil {
		return "", err
	}
	u.add(func() error { return unmount(dir) })
	return dir, nil
}

func unmount(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		err := errors.Join(unmountBelow(ctx, dir), command(ctx, "umount", dir))
		if err == nil {
			return nil
		}
		// The arbiter of shares' locks, which has its folder there, outlives the last pod
		// by a second.
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// unmountBelow unmounts what is mounted in a folder, but not at it.
func unmountBelow(ctx context.Context, dir string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range mountsBelow(string(text), dir) {
		errs = append(errs, command(ctx, "umount", m))
	}
	return errors.Join(errs...)
}

// mountsBelow lists the mounts in a folder, the innermost first.
func mountsBelow(mountinfo, dir string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			out = append(out, f[4])
		}
	}
	slices.Reverse(out) // the file lists them as they were mounted
	return out
}

// command runs a program that says nothing when it succeeds.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// peerConf is a CNI conf list under another name, with a bridge and subnets of its own:
// both runtimes are in one network namespace.
func peerConf(conf []byte) ([]byte, error) {
	var c map[string]any
	if err := json.Unmarshal(conf, &c); err != nil {
		return nil, fmt.Errorf("read CNI conf: %w", err)
	}
	c["name"] = "bench-peer"
	plugins, _ := c["plugins"].([]any)
	for _, p := range plugins {
		plugin, _ := p.(map[string]any)
		if plugin["type"] != "bridge" {
			continue
		}
		ipam, _ := plugin["ipam"].(map[string]any)
		if ipam == nil {
			break
		}
		plugin["bridge"] = "benchpeer0"
		ipam["ranges"] = []any{
			[]any{map[string]any{"subnet": "10.79.96.0/20"}},
			[]any{map[string]any{"subnet": "fd70:6f72:7469::/64"}},
		}
		return json.MarshalIndent(c, "", "  ")
	}
	return nil, errors.New("the CNI conf has no bridge with addresses")
}
