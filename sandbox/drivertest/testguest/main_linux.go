// Command testguest is PID 1 of the guest that the driver suite boots: it serves the
// ports of package wire and nothing else. The real guest is guest/agent.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/transport"
	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

func main() {
	fmt.Println("testguest:", run()) // it returns only when it cannot go on
	// PID 1 returns: the kernel panics, which ends the VM.
}

func run() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	if err := loadModules("/lib/porthole/modules"); err != nil {
		return err
	}
	mode, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	switch {
	case strings.Contains(string(mode), "testguest=hang"):
		fmt.Println("testguest: hanging as asked")
		for {
			time.Sleep(time.Hour)
		}
	case strings.Contains(string(mode), "testguest=exit"):
		return errors.New("leaving as asked")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	port, err := transport.OpenSerial(ctx, api.SerialPort)
	if err != nil {
		return fmt.Errorf("open control port: %w", err)
	}
	fmt.Println("testguest: ready")
	for {
		conn, err := port.Session(context.Background())
		if err != nil {
			return err
		}
		session, err := yamux.Server(conn, api.MuxConfig())
		if err != nil {
			return err
		}
		for {
			s, err := session.AcceptStream()
			if err != nil {
				break
			}
			go serve(port, s)
		}
		_ = session.Close() // waits until it has closed the port's session, which the next one is not to find
		fmt.Println("testguest:", api.HostGone)
	}
}

// loadModules loads the boot modules that a guest bundle lists for a virtio machine.
func loadModules(list string) error {
	b, err := os.ReadFile(list)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || (f[0] != "base" && f[0] != "virtio") {
			continue
		}
		m, err := os.Open(f[2])
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(m.Fd()), "", 0)
		_ = m.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", f[1], err)
		}
	}
	return nil
}

// await calls f until it succeeds or the limit passes.
func await[T any](limit time.Duration, f func() (T, error)) (T, error) {
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		v, err := f()
		if err == nil || time.Now().After(end) {
			return v, err
		}
	}
}

func serve(control *transport.SerialPort, s *yamux.Stream) {
	defer s.Close()
	port, err := api.ReadPort(s)
	if err != nil {
		return
	}
	switch port {
	case wire.Echo:
		_, _ = io.Copy(s, s)
	case wire.Disk:
		answer(s, disk)
	case wire.Link:
		answer(s, link)
	case wire.Count:
		answer(s, func(wire.CountRequest) wire.CountAnswer { return wire.CountAnswer{N: counted.Add(1)} })
	case wire.Crash:
		_ = os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case wire.Leave:
		_ = control.Close()
	}
}

// counted is what a guest that is restored still knows.
var counted atomic.Int64

func answer[Q, A any](s io.ReadWriter, f func(Q) A) {
	var q Q
	if err := json.NewDecoder(bufio.NewReader(s)).Decode(&q); err != nil {
		return
	}
	_ = json.NewEncoder(s).Encode(f(q))
}

func disk(q wire.DiskRequest) wire.DiskAnswer {
	a, err := look(q)
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func look(q wire.DiskRequest) (a wire.DiskAnswer, err error) {
	find := func() (string, error) {
		m, _ := filepath.Glob(fmt.Sprintf("/sys/bus/scsi/devices/*:0:0:%d/block/*", q.LUN))
		if len(m) != 1 {
			return "", fmt.Errorf("no disk at lun %d", q.LUN)
		}
		return "/dev/" + filepath.Base(m[0]), nil
	}
	if q.Gone {
		_, err := await(10*time.Second, func() (int, error) {
			if dev, err := find(); err == nil {
				return 0, fmt.Errorf("%s is there", dev)
			}
			return 0, nil
		})
		return a, err
	}
	// The kernel shows a disk in sysfs a moment before it can be opened: ENXIO till then.
	dev, err := await(10*time.Second, find)
	if err != nil {
		return a, err
	}
	if q.Write != nil {
		f, err := await(5*time.Second, func() (*os.File, error) { return os.OpenFile(dev, os.O_RDWR, 0) })
		if err != nil {
			return a, err
		}
		defer f.Close()
		if _, err := f.WriteAt(q.Write, 0); err != nil {
			return a, err
		}
		if err := f.Sync(); err != nil {
			return a, err
		}
	}
	f, err := await(5*time.Second, func() (*os.File, error) { return os.Open(dev) })
	if err != nil {
		return a, err
	}
	defer f.Close()
	if a.Size, err = f.Seek(0, io.SeekEnd); err != nil {
		return a, err
	}
	a.Head = make([]byte, wire.HeadBytes)
	if _, err := f.ReadAt(a.Head, 0); err != nil {
		return a, err
	}
	ro, err := os.ReadFile("/sys/class/block/" + filepath.Base(dev) + "/ro")
	a.ReadOnly = strings.TrimSpace(string(ro)) == "1"
	return a, err
}

func link(q wire.LinkRequest) wire.LinkAnswer {
	a, err := setLink(q)
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func setLink(q wire.LinkRequest) (a wire.LinkAnswer, err error) {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return a, err
	}
	a.MAC = l.Attrs().HardwareAddr.String()
	if err := netlink.LinkSetUp(l); err != nil {
		return a, err
	}
	if _, err := await(10*time.Second, func() (int, error) {
		b, err := os.ReadFile("/sys/class/net/eth0/carrier")
		if err != nil {
			return 0, err
		}
		if up := strings.TrimSpace(string(b)) == "1"; up != q.Up {
			return 0, fmt.Errorf("link is up: %v, want %v", up, q.Up)
		}
		return 0, nil
	}); err != nil {
		return a, err
	}
	if q.MTU != 0 {
		if err := netlink.LinkSetMTU(l, q.MTU); err != nil {
			return a, err
		}
	}
	if q.Address == "" {
		return a, nil
	}
	addr, err := netlink.ParseAddr(q.Address)
	if err != nil {
		return a, err
	}
	if err := netlink.AddrReplace(l, addr); err != nil {
		return a, err
	}
	ln, err := net.Listen("tcp", fmt.Sprintf(":%d", wire.TCPEcho))
	if errors.Is(err, unix.EADDRINUSE) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return a, nil
}
