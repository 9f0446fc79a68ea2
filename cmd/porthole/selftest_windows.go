package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/selftest"
	"github.com/porthole-run/porthole/cmd/porthole/winhost"
	guestimage "github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/winsvc"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/sandbox/hcsvm"
	"github.com/porthole-run/porthole/share"
)

// newLab is this host, as the configuration would use it.
func newLab(ctx context.Context, c config.Config, disruptive bool) (l selftest.Lab, facts []selftest.Fact, err error) {
	l = selftest.Lab{
		Version: build().Version, Layer: func(path string) error { return makeLayer(ctx, path) },
		Scratch: hcsvm.NewScratch(), Memory: vmMemory,
		Share: func(dir string) (share.Backend, error) {
			b, _, err := openShare(dir)
			return b, err
		},
		Edge:  edge{},
		Times: selftest.Times{Boot: max(selftest.BootTime, time.Duration(c.VM.StartTimeout))},
	}
	host, err := winhost.Gather(ctx, places(c))
	if err != nil {
		return l, nil, err
	}
	facts = hostFacts(host)
	if b, err := guestimage.Open(c.VM.Bundle); err == nil {
		l.Kernel, l.Initrd = b.Kernel(), b.Initrd()
		facts = append(facts, selftest.Fact{Name: "guest", Value: fmt.Sprintf("kernel %s (%s)", b.Manifest().Kernel.Release, b.Manifest().Kernel.Flavour)})
		l.Driver = func(o selftest.DriverOptions) (selftest.Driver, error) { return labDriver(l.Host, l.HNS, c, b, o) }
	} else {
		facts = append(facts, selftest.Fact{Name: "guest", Value: err.Error()})
	}
	lib, err := hcs.Open()
	if l.HostErr = err; err == nil {
		l.Host = hcs.New(lib)
	}
	l.HNS, l.HNSErr = hcnnet.SystemHNS()
	m, _, err := newNetwork(c, slog.New(slog.DiscardHandler))
	if err == nil {
		err = m.Ready(ctx)
	}
	if l.NetworkErr = err; err == nil {
		l.Network = m
	}
	if disruptive {
		l.Restart = restartService
	}
	if err := os.MkdirAll(c.Root, 0o711); err != nil {
		return l, nil, fmt.Errorf("make folder: %w", err)
	}
	l.Dir, err = os.MkdirTemp(c.Root, "selftest-")
	return l, facts, err
}

func hostFacts(f winhost.Facts) []selftest.Fact {
	facts := []selftest.Fact{
		{Name: "windows", Value: fmt.Sprintf("%s, build %d.%d", f.Product, f.Build, f.Revision)},
		{Name: "hcs schema", Value: fmt.Sprint(f.Schema)},
		{Name: "hns", Value: fmt.Sprintf("%d.%d", f.HNS.Major, f.HNS.Minor)},
		{Name: "processors", Value: fmt.Sprint(hostProcessors())},
	}
	if n, err := hostMemory(); err == nil {
		facts = append(facts, selftest.Fact{Name: "memory", Value: fmt.Sprintf("%d MiB", n>>20)})
	}
	for _, c := range winhost.Check(f) {
		if !c.OK {
			facts = append(facts, selftest.Fact{Name: "doctor", Value: c.Name + ": " + c.Detail})
		}
	}
	return facts
}

// labDriver is the shims' driver but for what a check wants of it.
func labDriver(host *hcs.Host, hns hcnnet.HNS, c config.Config, b *guestimage.Bundle, o selftest.DriverOptions) (*hcsvm.Driver, error) {
	h := hcsvm.Config{
		Host: host, CommandLine: strings.TrimSpace(commandLine(c.VM, b) + " " + o.CommandLine), Ports: o.Ports,
		StartTimeout: time.Duration(c.VM.StartTimeout),
	}
	if hns != nil {
		h.Endpoint = func(ctx context.Context, namespace, id string) (hcsvm.Endpoint, error) {
			mac, err := hcnnet.LookUp(ctx, hns, namespace, id)
			return hcsvm.Endpoint{ID: id, MAC: mac}, err
		}
	}
	return hcsvm.New(h)
}

// makeLayer makes the disk of an image's layer that holds nothing.
func makeLayer(ctx context.Context, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	empty := make([]byte, 1024) // the end of a tar
	_, err = layer.Convert(ctx, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(empty)), nil
	}, f, layer.Options{})
	return errors.Join(err, f.Close())
}

// restartService restarts a service of Windows and waits until it runs.
func restartService(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	if err := winsvc.Stop(ctx, name); err != nil {
		return err
	}
	return winsvc.Start(ctx, name)
}

var memoryInfo = sync.OnceValues(func() (*windows.LazyProc, error) {
	p := windows.NewLazySystemDLL("kernel32.dll").NewProc("K32GetProcessMemoryInfo")
	return p, p.Find()
})

// memoryCounters is PROCESS_MEMORY_COUNTERS.
type memoryCounters struct {
	size, faults                                             uint32
	peakWorkingSet, workingSet                               uintptr
	peakPagedPool, pagedPool, peakNonPagedPool, nonPagedPool uintptr
	pageFile, peakPageFile                                   uintptr
}

// vmMemory is the working sets of the processes that hold VMs' memory: vmmem, and by their
// newer name vmmemCmZygote, vmmemWSL and so on.
func vmMemory() (total uint64, err error) {
	info, err := memoryInfo()
	if err != nil {
		return 0, err
	}
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	defer windows.CloseHandle(snapshot)
	e := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snapshot, &e); err == nil; err = windows.Process32Next(snapshot, &e) {
		if !strings.HasPrefix(strings.ToLower(windows.UTF16ToString(e.ExeFile[:])), "vmmem") {
			continue
		}
		h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, e.ProcessID)
		if err != nil {
			continue // it has ended, or is protected
		}
		c := memoryCounters{size: uint32(unsafe.Sizeof(memoryCounters{}))}
		if ok, _, _ := info.Call(uintptr(h), uintptr(unsafe.Pointer(&c)), uintptr(c.size)); ok != 0 {
			total += uint64(c.workingSet)
		}
		_ = windows.CloseHandle(h)
	}
	if !errors.Is(err, windows.ERROR_NO_MORE_FILES) {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	return total, nil
}
