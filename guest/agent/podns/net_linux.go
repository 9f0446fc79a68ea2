package podns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Prepare does ahead what SetNetwork does for every pod: it sets lo up and moves the VM's
// NICs, which are down, into the network namespace that pid holds.
func (n *Namespaces) Prepare(pid int) error {
	if err := within(pid, []string{"net"}, refuseAdvertisements); err != nil {
		return err
	}
	_, closeHandle, err := handleWithLo(pid)
	if err != nil {
		return err
	}
	defer closeHandle()
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if a := l.Attrs(); len(a.PermHWAddr) > 0 && a.Flags&net.FlagLoopback == 0 { // hardware, not a tunnel's end
			if err := netlink.LinkSetNsPid(l, pid); err != nil {
				return fmt.Errorf("move %s to the pod: %w", a.Name, err)
			}
		}
	}
	return nil
}

// handleWithLo is handleAt for a namespace whose lo is to be up.
func handleWithLo(pid int) (*netlink.Handle, func(), error) {
	h, closeHandle, err := handleAt(pid)
	if err != nil {
		return nil, nil, err
	}
	lo, err := h.LinkByName("lo")
	switch {
	case err != nil:
		err = fmt.Errorf("find lo: %w", err)
	case lo.Attrs().Flags&net.FlagUp == 0:
		if err = h.LinkSetUp(lo); err != nil {
			err = fmt.Errorf("set lo up: %w", err)
		}
	}
	if err != nil {
		closeHandle()
		return nil, nil, err
	}
	return h, closeHandle, nil
}

// SetNetwork moves the NICs into the network namespace of the pod that pid holds, unless
// they are there (Prepare), and sets them up, and sets lo up. It waits, until ctx ends, for
// NICs that are not there yet.
func (n *Namespaces) SetNetwork(ctx context.Context, pid int, interfaces []Interface) error {
	h, closeHandle, err := handleWithLo(pid)
	if err != nil {
		return err
	}
	defer closeHandle()
	for _, i := range interfaces {
		link, err := findLink(h, i.BootMAC)
		switch {
		case errdefs.IsNotFound(err):
			link, err = moveIn(ctx, h, pid, i)
		case err == nil && link.Attrs().Flags&net.FlagUp != 0:
			err = h.LinkSetDown(link) // it is renamed
		}
		if err != nil {
			return err
		}
		if err := configure(h, link, i); err != nil {
			return fmt.Errorf("set up %s: %w", i.Name, err)
		}
	}
	return nil
}

// moveIn moves a NIC into the pod.
func moveIn(ctx context.Context, h *netlink.Handle, pid int, i Interface) (netlink.Link, error) {
	link, err := findNIC(ctx, i.BootMAC)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return nil, fmt.Errorf("set %s down: %w", i.Name, err)
	}
	if err := netlink.LinkSetNsPid(link, pid); err != nil {
		return nil, fmt.Errorf("move %s to the pod: %w", i.Name, err)
	}
	if link, err = findLink(h, i.BootMAC); err != nil {
		return nil, fmt.Errorf("find %s in the pod: %w", i.Name, err)
	}
	return link, nil
}

// ReleaseNetwork moves the NICs back, so that another pod can have them. NICs that are
// not in the pod are not an error.
func (n *Namespaces) ReleaseNetwork(pid int, interfaces []Interface) error {
	h, closeHandle, err := handleAt(pid)
	if err != nil {
		return err
	}
	defer closeHandle()
	for _, i := range interfaces {
		link, err := findLink(h, i.BootMAC)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := h.LinkSetDown(link); err != nil {
			return fmt.Errorf("set %s down: %w", i.Name, err)
		}
		if err := clean(h, link); err != nil {
			return fmt.Errorf("clean %s: %w", i.Name, err)
		}
		// The name may be taken outside; the index is unique in the namespace it leaves only.
		if err := h.LinkSetName(link, fmt.Sprintf("n%02x%02x%02x%02x%02x%02x", i.BootMAC[0], i.BootMAC[1], i.BootMAC[2], i.BootMAC[3], i.BootMAC[4], i.BootMAC[5])); err != nil {
			return fmt.Errorf("rename %s: %w", i.Name, err)
		}
		if err := h.LinkSetHardwareAddr(link, i.BootMAC); err != nil {
			return fmt.Errorf("set the MAC of %s back: %w", i.Name, err)
		}
		if err := h.LinkSetNsPid(link, 1); err != nil {
			return fmt.Errorf("move %s out of the pod: %w", i.Name, err)
		}
	}
	return nil
}

// clean takes away what the pod may have set on a NIC and what moves with it: the next pod's
// is to begin as it came.
func clean(h *netlink.Handle, link netlink.Link) error {
	a := link.Attrs()
	if a.MTU != defaultMTU {
		if err := h.LinkSetMTU(link, defaultMTU); err != nil {
			return fmt.Errorf("set MTU back: %w", err)
		}
	}
	if a.Promisc > 0 {
		if err := h.SetPromiscOff(link); err != nil {
			return fmt.Errorf("end promiscuous mode: %w", err)
		}
	}
	return nil
}

// defaultMTU is an Ethernet NIC's.
const defaultMTU = 1500

// RenewNetwork sets NICs up anew that are in the pod already: with another MAC, and with
// other addresses and routes in place of all that they have. A NIC that is not there, as the
// restored VM was given another in its place, is waited for until ctx ends, and moved in.
func (n *Namespaces) RenewNetwork(ctx context.Context, pid int, interfaces []Interface) error {
	h, closeHandle, err := handleAt(pid)
	if err != nil {
		return err
	}
	defer closeHandle()
	for _, i := range interfaces {
		link, err := findLink(h, i.BootMAC)
		if errdefs.IsNotFound(err) {
			link, err = replace(ctx, h, pid, i)
		}
		if err != nil {
			return fmt.Errorf("find %s in the pod: %w", i.Name, err)
		}
		// Routes go with the link, and so do neighbours.
		if err := h.LinkSetDown(link); err != nil {
			return fmt.Errorf("set %s down: %w", i.Name, err)
		}
		addrs, err := h.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if err := h.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("remove address %s of %s: %w", a.IPNet, i.Name, err)
			}
		}
		if err := configure(h, link, i); err != nil {
			return fmt.Errorf("set up %s: %w", i.Name, err)
		}
	}
	return nil
}

// replace moves a NIC into the pod. One that has its name there gives it up.
func replace(ctx context.Context, h *netlink.Handle, pid int, i Interface) (netlink.Link, error) {
	link, err := findNIC(ctx, i.BootMAC)
	if err != nil {
		return nil, err
	}
	if old, err := h.LinkByName(i.Name); err == nil {
		err = errors.Join(h.LinkSetDown(old), h.LinkSetName(old, fmt.Sprintf("old%d", old.Attrs().Index)))
		if err != nil {
			return nil, fmt.Errorf("put the NIC away that was %s: %w", i.Name, err)
		}
	}
	if err := netlink.LinkSetDown(link); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetNsPid(link, pid); err != nil {
		return nil, err
	}
	return findLink(h, i.BootMAC)
}

func configure(h *netlink.Handle, link netlink.Link, i Interface) error {
	if link.Attrs().Name != i.Name {
		if err := h.LinkSetName(link, i.Name); err != nil {
			return fmt.Errorf("rename: %w", err)
		}
	}
	if i.MAC != nil {
		if err := h.LinkSetHardwareAddr(link, i.MAC); err != nil {
			return fmt.Errorf("set MAC %s: %w", i.MAC, err)
		}
	}
	if i.MTU != 0 {
		if err := h.LinkSetMTU(link, i.MTU); err != nil {
			return fmt.Errorf("set MTU %d: %w", i.MTU, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for _, p := range i.Addrs {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD // the host gave it to this pod alone
		}
		if err := h.AddrAdd(link, a); err != nil {
			return fmt.Errorf("add address %s: %w", p, err)
		}
	}
	for _, r := range plan(i) {
		nr := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.Dst.Masked()), MTU: r.MTU, Priority: r.Metric}
		if r.Gateway.IsValid() {
			nr.Gw = r.Gateway.AsSlice()
		} else {
			nr.Scope = netlink.SCOPE_LINK
		}
		if err := h.RouteReplace(nr); err != nil {
			return fmt.Errorf("add route to %s: %w", r.Dst, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// handleAt opens netlink in the network namespace of pid.
func handleAt(pid int) (*netlink.Handle, func(), error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, nil, fmt.Errorf("open net namespace of process %d: %w", pid, err)
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, nil, fmt.Errorf("open netlink in the pod: %w", err)
	}
	return h, func() { h.Close(); ns.Close() }, nil
}

// findNIC waits for the NIC with the given MAC in the agent's own namespace.
func findNIC(ctx context.Context, mac net.HardwareAddr) (netlink.Link, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		link, err := findLink(h, mac)
		if !errdefs.IsNotFound(err) {
			return link, err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// findLink finds a NIC by the MAC it has or came with.
func findLink(h *netlink.Handle, mac net.HardwareAddr) (netlink.Link, error) {
	links, err := h.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // another pod's NIC came or went meanwhile
		links, err = h.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if bytes.Equal(l.Attrs().PermHWAddr, mac) {
			return l, nil
		}
	}
	for _, l := range links {
		if bytes.Equal(l.Attrs().HardwareAddr, mac) {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no interface with MAC %s: %w", mac, errdefs.ErrNotFound)
}
