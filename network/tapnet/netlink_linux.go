package tapnet

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenModeNone = 1

// namespace is an open network namespace with a netlink socket in it.
type namespace struct {
	*netlink.Handle
	ns       netns.NsHandle
	dev, ino uint64
}

func open(path string) (*namespace, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, kind(err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(ns), &st); err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("examine network namespace %s: %w", path, err)
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		_ = ns.Close()
		// The file is left when a namespace is unmounted but not removed.
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
		}
		return nil, fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return &namespace{Handle: h, ns: ns, dev: st.Dev, ino: st.Ino}, nil
}

func (n *namespace) close() {
	n.Close()
	_ = n.ns.Close()
}

// ingress is the qdisc that holds the redirect of what comes in on a link.
func ingress(l netlink.Link) netlink.Qdisc {
	return &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_INGRESS,
	}}
}

// redirect sends all that comes in on one link out of the other. The classifier is u32
// without keys, which every kernel with tc has; matchall is often not built. It tells
// whether it has added from's ingress qdisc, with which the redirect goes.
func redirect(h *netlink.Handle, from, to netlink.Link) (added bool, err error) {
	if err := h.QdiscAdd(ingress(from)); err != nil {
		return false, fmt.Errorf("add ingress qdisc: %w", err)
	}
	if err := h.FilterAdd(&netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: from.Attrs().Index,
			Parent:    netlink.MakeHandle(0xffff, 0),
			Protocol:  unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{netlink.NewMirredAction(to.Attrs().Index)},
	}); err != nil {
		return true, fmt.Errorf("add redirect: %w", err)
	}
	return true, nil
}

// absent tells whether err says that a link, qdisc or namespace is not there.
func absent(err error) bool {
	var link netlink.LinkNotFoundError
	return errors.As(err, &link) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)
}

func kind(err error) error {
	if absent(err) {
		return fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	return err
}
