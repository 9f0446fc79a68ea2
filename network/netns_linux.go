package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// hostNamespaces are the namespaces of this host, held by bind mounts.
type hostNamespaces struct{}

func (h hostNamespaces) create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	// A file that is left from before a reboot holds nothing.
	if err := h.remove(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("make network namespace: %w", err)
	}
	f.Close()
	if err := onDoomedThread(func() error { return unshareTo(path) }); err != nil {
		return errors.Join(fmt.Errorf("make network namespace %s: %w", path, err), h.remove(path))
	}
	return nil
}

// onDoomedThread runs f on a thread of its own that ends with it, so that whatever f
// does to the thread cannot reach other goroutines.
func onDoomedThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and no unlock: the runtime then ends the thread
		if unix.Gettid() == os.Getpid() {
			// The main thread does not end, and is what /proc/self shows. It is locked
			// now, so that a further goroutine gets another one.
			err := onDoomedThread(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// unshareTo moves the calling thread into a new namespace and mounts that on path.
func unshareTo(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("raise loopback: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind mount: %w", err)
	}
	return nil
}

func (hostNamespaces) remove(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // no mount, or no more
		}
		if err != nil {
			return fmt.Errorf("unmount network namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

func (hostNamespaces) alive(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

func (hostNamespaces) inspect(path, ifname string) (link, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return link{}, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return link{}, fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	defer h.Close()
	nl, err := h.LinkByName(ifname)
	if err != nil {
		return link{}, fmt.Errorf("find %s in the pod's namespace: %w", ifname, err)
	}
	l := link{mac: nl.Attrs().HardwareAddr.String(), mtu: nl.Attrs().MTU}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteListFiltered(family,
			&netlink.Route{LinkIndex: nl.Attrs().Index, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
		if err != nil {
			return link{}, fmt.Errorf("list routes in the pod's namespace: %w", err)
		}
		for _, r := range routes {
			if route, ok := kernelRoute(family, r); ok {
				l.routes = append(l.routes, route)
			}
		}
	}
	return l, nil
}

// kernelRoute leaves out the routes that the guest's kernel makes by itself.
func kernelRoute(family int, r netlink.Route) (Route, bool) {
	if r.Protocol == unix.RTPROT_KERNEL || r.Protocol == unix.RTPROT_RA || r.Type != unix.RTN_UNICAST {
		return Route{}, false
	}
	dst := r.Dst
	if dst == nil {
		bits := 8 * net.IPv4len
		if family == netlink.FAMILY_V6 {
			bits = 8 * net.IPv6len
		}
		dst = &net.IPNet{IP: make(net.IP, bits/8), Mask: net.CIDRMask(0, bits)}
	}
	p, err := Prefix(*dst)
	if err != nil {
		return Route{}, false
	}
	route := Route{Destination: p.Masked().String(), MTU: r.MTU, Metric: r.Priority}
	if family == netlink.FAMILY_V6 && r.Priority == ip6Priority {
		route.Metric = 0
	}
	if gw, ok := netip.AddrFromSlice(r.Gw); ok {
		route.Gateway = gw.Unmap().String()
	}
	return route, true
}

// ip6Priority is the metric that the kernel gives an IPv6 route that asks for none.
const ip6Priority = 1024
