package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// Machine is a VM that is data, as its guest sees it.
type Machine interface {
	Disk(lun uint32) (sandbox.Disk, bool) // of the first controller
	MAC() string                          // of the one NIC
	Print(text string)                    // to the console
	Kill(cause error)                     // what a guest does that ends
}

// Counter is a Machine that has memory, which is saved with it.
type Counter interface {
	Count() int64 // one more
}

// SuiteGuest is the Handler that answers Suite as testguest does in a real VM.
func SuiteGuest(_ context.Context, vm *FakeVM, port uint32, conn Conn) { ServeSuite(vm, port, conn) }

// ServeSuite serves one connection as testguest does in a real VM.
func ServeSuite(vm Machine, port uint32, conn Conn) {
	defer conn.Close()
	switch port {
	case wire.Echo:
		_, _ = io.Copy(conn, conn)
	case wire.Disk:
		var q wire.DiskRequest
		if json.NewDecoder(conn).Decode(&q) != nil {
			return
		}
		a, err := fakeDisk(vm, q)
		if err != nil {
			a.Error = err.Error()
		}
		_ = json.NewEncoder(conn).Encode(a)
	case wire.Link:
		var q wire.LinkRequest
		if json.NewDecoder(conn).Decode(&q) == nil {
			_ = json.NewEncoder(conn).Encode(wire.LinkAnswer{MAC: vm.MAC()})
		}
	case wire.Count:
		var q wire.CountRequest
		if c, ok := vm.(Counter); ok && json.NewDecoder(conn).Decode(&q) == nil {
			_ = json.NewEncoder(conn).Encode(wire.CountAnswer{N: c.Count()})
		}
	case wire.Crash:
		vm.Print("Kernel panic - not syncing: sysrq triggered crash\n")
		vm.Kill(errors.New("guest panicked"))
	case wire.Leave:
		vm.Kill(errors.New("guest closed its control port"))
	}
}

func fakeDisk(vm Machine, q wire.DiskRequest) (wire.DiskAnswer, error) {
	d, ok := vm.Disk(q.LUN)
	switch {
	case q.Gone && ok:
		return wire.DiskAnswer{}, errors.New("disk is there")
	case q.Gone:
		return wire.DiskAnswer{}, nil
	case !ok:
		return wire.DiskAnswer{}, errors.New("no such disk")
	case q.Write != nil && d.ReadOnly:
		return wire.DiskAnswer{}, errors.New("disk is read-only")
	}
	f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	if err != nil {
		return wire.DiskAnswer{}, err
	}
	defer f.Close()
	if _, err := f.WriteAt(q.Write, 0); err != nil {
		return wire.DiskAnswer{}, err
	}
	a := wire.DiskAnswer{ReadOnly: d.ReadOnly, Head: make([]byte, wire.HeadBytes)}
	if _, err := f.ReadAt(a.Head, 0); err != nil {
		return a, err
	}
	a.Size, err = f.Seek(0, io.SeekEnd)
	if d.Format == sandbox.DiskVHD {
		a.Size -= 512
	}
	return a, err
}
