package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// host is what a cluster changes of the machine: all of it is in namespaces of its own but
// for the cgroups.
type host struct{ cgroups []string }

// prepareHost makes the node's address and cgroups, and keeps the kubelet from what is
// the machine's.
func (c *Cluster) prepareHost(ctx context.Context) error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	if len(links) != 1 {
		return fmt.Errorf("this network namespace has %d links: a cluster wants one of its own, with loopback alone (scripts/netns.sh)", len(links))
	}
	for _, args := range [][]string{
		{"link", "add", "node0", "type", "bridge"},
		{"address", "add", NodeIP + "/24", "dev", "node0"},
		{"link", "set", "node0", "up"},
	} {
		if err := command(ctx, "ip", args...); err != nil {
			return err
		}
	}
	// The kubelet puts links to logs into /var/log/containers, which no setting changes.
	if err := command(ctx, "mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/var/log"); err != nil {
		return err
	}
	c.stop.Push("unmount volumes", func(ctx context.Context) error { return unmountBelow(ctx, c.config.Dir) })
	if err := c.hideSysctls(ctx); err != nil {
		return err
	}
	return c.makeCgroups()
}

// sysctls are what the kubelet wants of a node. It sets what is otherwise, for the whole
// machine: here it finds each as it wants it.
var sysctls = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

func (c *Cluster) hideSysctls(ctx context.Context) error {
	for name, value := range sysctls {
		path := c.path("etc", strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(path, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := command(ctx, "mount", "--bind", path, filepath.Join("/proc/sys", name)); err != nil {
			return err
		}
	}
	return nil
}

const cgroupRoot = "/sys/fs/cgroup"

// makeCgroups makes the node's cgroup in each hierarchy, so that two nodes on one machine
// do not take each other's pods' cgroups for left-overs. Those of a node before are removed.
func (c *Cluster) makeCgroups() error {
	c.host.cgroups = []string{filepath.Join(cgroupRoot, c.config.Name)}
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		all, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		if err != nil {
			return err
		}
		enable := ""
		for _, name := range strings.Fields(string(all)) {
			enable += "+" + name + " "
		}
		if err := os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte(enable), 0o644); err != nil {
			return fmt.Errorf("enable cgroup controllers: %w", err)
		}
	} else {
		procs, err := filepath.Glob(filepath.Join(cgroupRoot, "*", "cgroup.procs"))
		if err != nil {
			return err
		}
		c.host.cgroups = nil
		for _, p := range procs {
			c.host.cgroups = append(c.host.cgroups, filepath.Join(filepath.Dir(p), c.config.Name))
		}
	}
	if err := c.removeCgroups(); err != nil {
		return err
	}
	for _, dir := range c.host.cgroups {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		// A cgroup of cpuset's first version takes processes only when it names its CPUs.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), f))
			if err != nil {
				continue // another controller's
			}
			if err := os.WriteFile(filepath.Join(dir, f), value, 0o644); err != nil {
				return err
			}
		}
	}
	c.stop.Push("remove cgroups", func(context.Context) error { return c.removeCgroups() })
	return nil
}

// removeCgroups removes the node's cgroups, those below first.
func (c *Cluster) removeCgroups() error {
	var errs []error
	for _, top := range c.host.cgroups {
		var dirs []string
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, d := range slices.Backward(dirs) {
			if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// unmountBelow unmounts all that is mounted below a folder, last first.
func unmountBelow(ctx context.Context, dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			points = append(points, f[1])
		}
	}
	var errs []error
	for _, p := range slices.Backward(points) {
		errs = append(errs, command(ctx, "umount", p))
	}
	return errors.Join(errs...)
}
