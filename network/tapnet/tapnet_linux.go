package tapnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Tap is a tap interface.
type Tap struct {
	name string         // immutable after Create
	home netns.NsHandle // immutable after Create; where it waits

	mu     sync.Mutex // guards the fields below
	file   *os.File   // nil after CloseFile
	joined *place     // nil while it waits at home
	gone   bool       // removed, here or with a namespace it was in
}

// place is where a tap was joined to. It holds no descriptor of the namespace, which
// would keep that alive after its owner deleted it.
type place struct {
	path     string
	dev, ino uint64 // of the namespace itself: the path may come to mean another
	iface    string
}

// Create makes a tap of this name in the network namespace of the calling thread, down,
// with headers for offloads. AlreadyExists when the name is taken.
func Create(name string) (t *Tap, err error) {
	if len(name) == 0 || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("create tap %q: name of %d bytes: %w", name, len(name), errdefs.ErrInvalidArgument)
	}
	home, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("create tap %s: find network namespace: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = home.Close()
		}
	}()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("create tap %s: open /dev/net/tun: %w", name, err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("create tap %s: %w", name, err)
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			err = fmt.Errorf("%w: %w", errdefs.ErrAlreadyExists, err)
		}
		return nil, fmt.Errorf("create tap %s: %w", name, err)
	}
	return &Tap{name: name, home: home, file: os.NewFile(uintptr(fd), "tap "+name)}, nil
}

// Name returns the interface's name.
func (t *Tap) Name() string { return t.name }

// Gone tells whether the tap is no more, as the namespace that it was in was deleted: it
// can not be joined again.
func (t *Tap) Gone() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gone
}

// File returns the tap's descriptor, to be passed to the hypervisor. It stays the Tap's;
// nil after CloseFile.
func (t *Tap) File() *os.File {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.file
}

// CloseFile closes the Tap's copy of the descriptor: from then on the tap lives as long
// as the process it was passed to.
func (t *Tap) CloseFile() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closeFile()
}

func (t *Tap) closeFile() error {
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	t.file = nil
	return err
}

// Join moves the tap into the namespace at path and joins it to the interface there: all
// that comes in on one goes out on the other. It takes over the interface's MTU.
// FailedPrecondition when it is joined, NotFound when the namespace or interface is not
// there. On error the tap waits at home.
func (t *Tap) Join(ctx context.Context, path, iface string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.join(ctx, path, iface); err != nil {
		return fmt.Errorf("join tap %s to %s in %s: %w", t.name, iface, path, err)
	}
	return nil
}

func (t *Tap) join(ctx context.Context, path, iface string) (err error) {
	switch {
	case t.gone:
		return fmt.Errorf("tap is gone: %w", errdefs.ErrFailedPrecondition)
	case t.joined != nil:
		return fmt.Errorf("tap is joined to %s: %w", t.joined.iface, errdefs.ErrFailedPrecondition)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	pod, err := open(path)
	if err != nil {
		return err
	}
	defer pod.close()
	home, err := netlink.NewHandleAt(t.home)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer home.Close()

	peer, err := pod.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", iface, kind(err))
	}
	tap, err := home.LinkByName(t.name)
	if err != nil {
		return fmt.Errorf("find tap: %w", kind(err))
	}
	// Only a qdisc that we added is ours to take away.
	var redirected bool
	where := &place{path: path, dev: pod.dev, ino: pod.ino, iface: iface}
	if err := home.LinkSetNsFd(tap, int(pod.ns)); err != nil {
		return fmt.Errorf("move tap: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.part(pod, iface, redirected))
		}
	}()
	if tap, err = pod.LinkByName(t.name); err != nil {
		return fmt.Errorf("find moved tap: %w", err)
	}
	// The tap must not speak for itself: no address of its own, so no solicitations.
	if err := pod.LinkSetIP6AddrGenMode(tap, addrGenModeNone); err != nil &&
		!errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("keep tap without addresses: %w", err)
	}
	if err := pod.LinkSetMTU(tap, peer.Attrs().MTU); err != nil {
		return fmt.Errorf("set MTU %d: %w", peer.Attrs().MTU, err)
	}
	// Up before the redirects: the kernel complains about redirects to what is down.
	if err := pod.LinkSetUp(tap); err != nil {
		return fmt.Errorf("raise tap: %w", err)
	}
	if _, err := redirect(pod.Handle, tap, peer); err != nil {
		return fmt.Errorf("redirect tap to %s: %w", iface, err)
	}
	if redirected, err = redirect(pod.Handle, peer, tap); err != nil {
		return fmt.Errorf("redirect %s to tap: %w", iface, err)
	}
	t.joined = where
	return nil
}

// Leave undoes Join: the interface is as before and the tap waits at home. A tap that is
// not joined is not an error; nor is one that went away with its namespace, which can
// not be joined again.
func (t *Tap) Leave(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.joined == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("part tap %s: %w", t.name, err)
	}
	pod, err := open(t.joined.path)
	if errdefs.IsNotFound(err) || (err == nil && (pod.dev != t.joined.dev || pod.ino != t.joined.ino)) {
		if err == nil {
			pod.close()
		}
		t.joined, t.gone = nil, true
		return nil
	}
	if err != nil {
		return fmt.Errorf("part tap %s: %w", t.name, err)
	}
	defer pod.close()
	if err := t.part(pod, t.joined.iface, true); err != nil {
		return fmt.Errorf("part tap %s: %w", t.name, err)
	}
	t.joined = nil
	return nil
}

// part takes the redirects away, the interface's if it is redirected, and brings the
// tap home.
func (t *Tap) part(pod *namespace, iface string, redirected bool) error {
	var errs []error
	if peer, err := pod.LinkByName(iface); err == nil && redirected {
		if err := pod.QdiscDel(ingress(peer)); err != nil && !absent(err) {
			errs = append(errs, fmt.Errorf("free %s: %w", iface, err))
		}
	}
	tap, err := pod.LinkByName(t.name)
	if absent(err) {
		t.gone = true
		return errors.Join(errs...)
	}
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("find tap: %w", err))...)
	}
	if err := pod.QdiscDel(ingress(tap)); err != nil && !absent(err) {
		errs = append(errs, fmt.Errorf("free tap: %w", err))
	}
	if err := pod.LinkSetDown(tap); err != nil {
		errs = append(errs, fmt.Errorf("lower tap: %w", err))
	}
	if err := pod.LinkSetNsFd(tap, int(t.home)); err != nil {
		errs = append(errs, fmt.Errorf("bring tap home: %w", err))
	}
	return errors.Join(errs...)
}

// Remove deletes the tap wherever it is and frees what the Tap holds. It may be called
// again.
func (t *Tap) Remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.home == -1 {
		return nil
	}
	var errs []error
	if t.joined != nil {
		if pod, err := open(t.joined.path); err == nil {
			if pod.dev == t.joined.dev && pod.ino == t.joined.ino {
				errs = append(errs, t.part(pod, t.joined.iface, true))
			}
			pod.close()
		}
		t.joined = nil
	}
	errs = append(errs, t.closeFile())
	// Another process may hold a copy of the descriptor still.
	if home, err := netlink.NewHandleAt(t.home); err == nil {
		if tap, err := home.LinkByName(t.name); err == nil {
			if err := home.LinkDel(tap); err != nil && !absent(err) {
				errs = append(errs, fmt.Errorf("remove tap %s: %w", t.name, err))
			}
		}
		home.Close()
	}
	t.gone = true
	_ = t.home.Close() // sets it to -1
	return errors.Join(errs...)
}
