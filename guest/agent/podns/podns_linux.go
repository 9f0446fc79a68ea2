package podns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/internal/usage"
)

// Namespaces makes pods' namespaces with a pause program.
type Namespaces struct {
	Pause  string       // path of the pause program
	Reaper *reap.Reaper // waits for it
}

// Start makes a pod's network, IPC, UTS and PID namespaces, and its user namespace, which
// owns the others, where o has one. It returns the process that holds them. Killing it ends
// them, and all processes in a PID namespace of the pod's own.
func (n *Namespaces) Start(o Options) (*reap.Process, error) {
	p, err := n.Reaper.Start(n.Pause, []string{"pause"}, &os.ProcAttr{Dir: "/", Env: []string{}, Sys: attributes(o)})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", n.Pause, err)
	}
	return p, nil
}

func attributes(o Options) *syscall.SysProcAttr {
	out := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUTS, Setsid: true}
	for flag, ofVM := range map[uintptr]bool{unix.CLONE_NEWNET: o.VMNetwork, unix.CLONE_NEWIPC: o.VMIPC, unix.CLONE_NEWPID: o.VMPID} {
		if !ofVM {
			out.Cloneflags |= flag
		}
	}
	if u := o.Users; u != nil {
		out.Cloneflags |= unix.CLONE_NEWUSER
		out.UidMappings, out.GidMappings = u.UIDs.toSys(), u.GIDs.toSys()
		out.GidMappingsEnableSetgroups = true
		out.Credential = &syscall.Credential{} // root in the namespace
	}
	return out
}

func (m Mapping) toSys() []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: int(m.Inside), HostID: int(m.Outside), Size: int(m.Length)}}
}

// Path returns the path of a namespace ("net", "pid" …) that process pid holds.
func Path(pid int, ns string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), "ns", ns)
}

// SetNames sets the host name and the sysctls of the pod that pid holds. The sysctls
// must be namespaced ones.
func (n *Namespaces) SetNames(pid int, hostname string, sysctls map[string]string) error {
	return within(pid, []string{"net", "ipc", "uts"}, func() error {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set hostname %q: %w", hostname, err)
		}
		if err := refuseAdvertisements(); err != nil {
			return err
		}
		for name, value := range sysctls {
			path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
			err := os.WriteFile(path, []byte(value), 0)
			switch {
			// Those of the kernel as a whole are not there in a pod's namespace, or only to read.
			case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE), errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
				return fmt.Errorf("set sysctl %s to %q: %w: %w", name, value, errdefs.ErrInvalidArgument, err)
			case err != nil:
				return fmt.Errorf("set sysctl %s to %q: %w", name, value, err)
			}
		}
		return nil
	})
}

// refuseAdvertisements has NICs that come into the thread's network namespace take addresses
// and routes from the host alone, not from whoever shares the link.
func refuseAdvertisements() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_ra", []byte("0"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
		return fmt.Errorf("refuse router advertisements: %w", err)
	}
	return nil
}

// Dial connects to a TCP port on the loopback of the pod that pid holds, IPv4 first.
func (n *Namespaces) Dial(ctx context.Context, pid int, port uint16) (*net.TCPConn, error) {
	var c net.Conn
	err := within(pid, []string{"net"}, func() error {
		var d net.Dialer
		var errs []error
		for _, host := range []string{"127.0.0.1", "::1"} {
			conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(port))))
			if err == nil {
				c = conn
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// within runs f on a thread that has joined namespaces of pid, and ends the thread.
func within(pid int, namespaces []string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			for _, ns := range namespaces {
				fd, err := unix.Open(Path(pid, ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					return fmt.Errorf("open %s namespace of process %d: %w", ns, pid, err)
				}
				err = unix.Setns(fd, 0)
				unix.Close(fd)
				if err != nil {
					return fmt.Errorf("join %s namespace of process %d: %w", ns, pid, err)
				}
			}
			return f()
		}()
	}()
	return <-done
}

// maxInterfaces is how many interfaces of a pod are told: whoever has CAP_NET_ADMIN in
// it may make thousands.
const maxInterfaces = 64

// Traffic tells what went through the interfaces of the pod that pid holds, but lo: the
// named ones first.
func (n *Namespaces) Traffic(pid int, names []string) ([]usage.Interface, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "net/dev"))
	if err != nil {
		return nil, fmt.Errorf("read traffic: %w", err)
	}
	return parseTraffic(string(b), names, maxInterfaces), nil
}
