package hcsemu

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/porthole-run/porthole/network/hcnnet"
)

// makeBridge makes a bridge with addresses (CIDR), up.
func makeBridge(name string, addresses []string) (err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	b := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(b); err != nil {
		return fmt.Errorf("make bridge %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make bridge %s: %w", name, err), netlink.LinkDel(b))
		}
	}()
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(b, addr); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(b)
}

func removeBridge(name string) error {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(l)
	}
	if err != nil {
		return fmt.Errorf("remove bridge %s: %w", name, err)
	}
	return nil
}

// toBridge makes a tap a port of a bridge.
func toBridge(tap, bridge string) error {
	t, err := netlink.LinkByName(tap)
	if err != nil {
		return fmt.Errorf("find %s: %w", tap, err)
	}
	b, err := netlink.LinkByName(bridge)
	if err != nil {
		return fmt.Errorf("find %s: %w", bridge, err)
	}
	if err := netlink.LinkSetMaster(t, b); err != nil {
		return fmt.Errorf("put %s on %s: %w", tap, bridge, err)
	}
	return netlink.LinkSetUp(t)
}

// fromBridge takes a tap off its bridge; one that is on none is not an error.
func fromBridge(tap string) error {
	t, err := netlink.LinkByName(tap)
	if err != nil {
		return fmt.Errorf("find %s: %w", tap, err)
	}
	return errors.Join(netlink.LinkSetDown(t), netlink.LinkSetNoMaster(t))
}

// counters are a tap's, from the side of the VM.
func counters(tap string) (hcnnet.Stats, error) {
	t, err := netlink.LinkByName(tap)
	if err != nil {
		return hcnnet.Stats{}, fmt.Errorf("find %s: %w", tap, err)
	}
	c := t.Attrs().Statistics
	if c == nil {
		return hcnnet.Stats{}, fmt.Errorf("no counters of %s", tap)
	}
	return hcnnet.Stats{
		BytesReceived: c.TxBytes, BytesSent: c.RxBytes, PacketsReceived: c.TxPackets, PacketsSent: c.RxPackets,
		DroppedIncoming: c.TxDropped, DroppedOutgoing: c.RxDropped,
	}, nil
}
