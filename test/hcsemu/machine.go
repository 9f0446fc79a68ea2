package hcsemu

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/porthole-run/porthole/internal/console"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/hcs/hcsfake"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
	"github.com/porthole-run/porthole/sandbox/qemuvm/mux"
	"github.com/porthole-run/porthole/sandbox/qemuvm/qmp"
)

// commandTime bounds what QEMU and the guest are waited for.
const commandTime = 20 * time.Second

// machines are the guests that run: hcsfake's machine.
type machines struct {
	service *Service

	mu   sync.Mutex // guards byID
	byID map[string]*machine
}

var _ hcsfake.Machine = (*machines)(nil)

func newMachines(s *Service) *machines { return &machines{service: s, byID: map[string]*machine{}} }

// machine is one QEMU.
type machine struct {
	service *Service
	id      string
	vm      *hcsfake.VM
	proc    *process
	console *console.Ring
	serial  *serial
	nics    []*nic

	ready chan struct{} // closed when the guest's agent answers; link is set then
	done  chan struct{} // closed when all has ended

	mu       sync.Mutex // guards the fields below
	monitor  *qmp.Client
	link     *mux.Client
	open     chan struct{} // closed when the guest has opened the mux's port
	deleted  map[string]chan struct{}
	stopping bool
}

// get returns a running guest.
func (m *machines) get(id string) (*machine, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.byID[id]; v != nil {
		return v, nil
	}
	return nil, &hcsfake.MachineError{Code: hcs.SystemAlreadyStopped, Text: "the guest has ended"}
}

// Start implements hcsfake.Machine.
func (m *machines) Start(vm *hcsfake.VM) error {
	v := &machine{
		service: m.service, id: vm.ID(), vm: vm, console: console.NewRing(console.Bytes), serial: newSerial(),
		ready: make(chan struct{}), open: make(chan struct{}), done: make(chan struct{}), deleted: map[string]chan struct{}{},
	}
	if err := v.start(m); err != nil {
		return fmt.Errorf("start guest: %w", err)
	}
	return nil
}

// start runs QEMU. On error nothing is left.
func (v *machine) start(m *machines) (err error) {
	var ends []*os.File // what QEMU gets; it has copies
	closeEnds := func() {
		for _, f := range ends {
			_ = f.Close()
		}
		ends = nil
	}
	defer closeEnds()
	var ours []net.Conn
	for range 3 {
		host, guest, err := newPair()
		if err != nil {
			return err
		}
		ours, ends = append(ours, host), append(ends, guest)
	}
	defer func() {
		if err != nil {
			for _, c := range ours {
				_ = c.Close()
			}
			v.removeNICs()
		}
	}()
	if v.nics, err = v.makeNICs(m.service.nicsFor(v.id)); err != nil {
		return err
	}
	files := slices.Clone(ends)
	for _, n := range v.nics {
		files = append(files, n.tap.File())
	}
	a := machineArgs{id: v.id, qmpFD: 3, consoleFD: 4, muxFD: 5, firstTap: 6, nics: len(v.nics)}
	a.kernel, a.initrd, a.commandLine = v.vm.Boot()
	a.megabytes, a.processors = v.vm.Size()
	if a.tscKHz, err = qemuvm.HostTSC(); err != nil {
		v.service.log.Warn("frequency of the time stamp counter is not known", "error", err)
	}
	if v.proc, err = spawn(v.service.config.QEMU, a.args(), files); err != nil {
		return err
	}
	closeEnds() // or its end would not be told
	m.mu.Lock()
	m.byID[v.id] = v
	m.mu.Unlock()
	v.service.offer(v.id, v.vm.Pipe("0"), v.serial)
	v.service.wg.Go(func() { v.own(m, ours[1], ours[2]) })
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	if err := v.run(ctx, ours[0]); err != nil {
		v.stop()
		return fmt.Errorf("%w: qemu says: %s", err, strings.TrimSpace(string(v.proc.stderr.Bytes())))
	}
	return nil
}

// run connects to QEMU and lets the guest go.
func (v *machine) run(ctx context.Context, c net.Conn) error {
	monitor, err := qmp.New(ctx, c, v.event)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.monitor = monitor
	v.mu.Unlock()
	var commands []qmp.Command
	for i := range v.nics {
		commands = append(commands, setLink(i, false))
	}
	return v.do(ctx, append(commands, qmp.Command{Name: "cont"})...)
}

func setLink(nic int, up bool) qmp.Command {
	return qmp.Command{Name: "set_link", Args: map[string]any{"name": fmt.Sprintf("nic%d", nic), "up": up}}
}

// do runs commands; the first error counts.
func (v *machine) do(ctx context.Context, commands ...qmp.Command) error {
	v.mu.Lock()
	monitor := v.monitor
	v.mu.Unlock()
	if monitor == nil {
		return &hcsfake.MachineError{Code: hcs.InvalidState, Text: "the guest is being started"}
	}
	for _, r := range monitor.Do(ctx, commands...) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// event takes what QEMU tells; it runs on the monitor's reader.
func (v *machine) event(e qmp.Event) {
	var d struct {
		ID, Device string
		Open       bool
	}
	if len(e.Data) > 0 && json.Unmarshal(e.Data, &d) != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case e.Name == "VSERPORT_CHANGE" && d.ID == "mux0" && d.Open:
		closeOnce(v.open)
	case e.Name == "DEVICE_DELETED" && v.deleted[d.Device] != nil:
		closeOnce(v.deleted[d.Device])
	}
}

func closeOnce(ch chan struct{}) {
	select {
	case <-ch:
	default:
		close(ch)
	}
}

// own waits for all that belongs to a guest, and tells how it ended.
func (v *machine) own(m *machines, output, muxPort net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.MultiWriter(v.console, v.serial), output) })
	wg.Go(func() { v.connect(muxPort) })
	<-v.proc.done
	v.mu.Lock()
	monitor, asked := v.monitor, v.stopping
	v.mu.Unlock()
	if monitor != nil {
		<-monitor.Done()
		_ = monitor.Close()
	}
	wg.Wait()
	_ = output.Close()
	v.serial.end()
	v.removeNICs()
	m.mu.Lock()
	delete(m.byID, v.id)
	m.mu.Unlock()
	close(v.done)
	log := string(v.console.Bytes())
	switch panicked := console.PanicLine([]byte(log)); {
	case asked:
	case panicked != "":
		v.vm.Crash(panicked)
	case v.proc.err == nil:
		v.vm.Exit()
	default:
		v.service.log.Warn("qemu ended", "vm", v.id, "error", v.proc.err, "says", string(v.proc.stderr.Bytes()))
		m.service.hcs.Exit(v.id, "UnexpectedExit")
	}
}

// connect starts the streams when the guest has opened its port, and ends them with QEMU.
func (v *machine) connect(port net.Conn) {
	select {
	case <-v.open:
	case <-v.proc.done:
		_ = port.Close()
		return
	}
	link, err := mux.New(port)
	if err != nil {
		v.service.log.Warn("no streams to a guest", "vm", v.id, "error", err)
		_ = port.Close()
		<-v.proc.done
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if link.Ready() != nil {
			return
		}
		v.mu.Lock()
		v.link = link
		v.mu.Unlock()
		close(v.ready)
	})
	<-v.proc.done
	_ = link.Close()
	wg.Wait()
}

// stop ends the guest and waits for that.
func (v *machine) stop() {
	v.mu.Lock()
	v.stopping = true
	v.mu.Unlock()
	v.proc.kill()
	<-v.done
}

// Stop implements hcsfake.Machine.
func (m *machines) Stop(id string) {
	if v, err := m.get(id); err == nil {
		v.stop()
	}
}

// stopAll ends all guests.
func (m *machines) stopAll() {
	m.mu.Lock()
	var all []*machine
	for _, v := range m.byID {
		all = append(all, v)
	}
	m.mu.Unlock()
	for _, v := range all {
		v.stop()
	}
}

// Pause implements hcsfake.Machine.
func (m *machines) Pause(id string, paused bool) error {
	v, err := m.get(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	return v.do(ctx, qmp.Command{Name: map[bool]string{true: "stop", false: "cont"}[paused]})
}
