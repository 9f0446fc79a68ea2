package drivertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// Env is what Suite needs to know of the driver under test.
type Env struct {
	// Driver makes VMs whose guests serve the ports of package wire.
	Driver sandbox.Driver
	// Config returns the config of a VM with this id.
	Config func(t *testing.T, id string) sandbox.VMConfig
	// NIC makes a network to join a VM to, for the length of the test. Carry checks
	// that bytes pass between it and a guest with the address Guest (CIDR); nil: not checked.
	NIC func(t *testing.T) (n sandbox.NIC, guest string, carry func(t *testing.T))
	// NoRaw says that the driver takes no raw disks: those to write on are fixed VHDs.
	NoRaw bool
	// Clones says that VMs are clones of a template, which need neither kernel nor initrd.
	Clones bool
	// StateSuffix is how the name of a file has to end that a VM is saved to.
	StateSuffix string
	// Left describes what VMs left on the machine; "" when nothing.
	Left func(t *testing.T) string
}

// bootLimit bounds the wait for a guest under emulation on a busy machine.
const bootLimit = 90 * time.Second

// Suite checks a driver against the contract of sandbox.Driver and sandbox.VM. VMs boot
// few times, as booting is what takes long.
func Suite(t *testing.T, e Env) {
	for _, s := range []struct {
		name string
		test func(*testing.T, Env)
	}{
		{"create", testCreate},
		{"life", testLife},
		{"streams_disks_nic", testRunning},
		{"crash", testCrash},
		{"leave", testLeave},
	} {
		t.Run(s.name, func(t *testing.T) {
			s.test(t, e)
			if e.Left != nil {
				if left := e.Left(t); left != "" {
					t.Errorf("left behind:\n%s", left)
				}
			}
		})
	}
}

// create makes a VM that is stopped at the end of the test; tests that look at what is
// left stop it themselves.
func create(t *testing.T, e Env, id string) sandbox.VM {
	t.Helper()
	vm, err := e.Driver.Create(t.Context(), e.Config(t, id))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, vm) })
	return vm
}

func boot(t *testing.T, e Env, id string) sandbox.VM {
	t.Helper()
	vm := create(t, e, id)
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return vm
}

func stop(t *testing.T, vm sandbox.VM) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := vm.Stop(ctx); err != nil {
		t.Errorf("Stop() = %v", err)
	}
}

func dial(t *testing.T, vm sandbox.VM, port uint32) Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	c, err := vm.Dial(ctx, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	conn, ok := c.(Conn)
	if !ok {
		t.Fatalf("Dial returned a %T, which has no CloseWrite", c)
	}
	return conn
}

// ask makes one request of the guest.
func ask[A any](t *testing.T, vm sandbox.VM, port uint32, q any) A {
	t.Helper()
	c := dial(t, vm, port)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	if err := json.NewEncoder(c).Encode(q); err != nil {
		t.Fatal(err)
	}
	var a A
	if err := json.NewDecoder(c).Decode(&a); err != nil {
		t.Fatalf("ask port %d %+v: %v", port, q, err)
	}
	return a
}

func testCreate(t *testing.T, e Env) {
	good := e.Config(t, "suite-create")
	for _, tc := range []struct {
		name   string
		change func(*sandbox.VMConfig)
		is     func(error) bool
	}{
		{"no_id", func(c *sandbox.VMConfig) { c.ID = "" }, errdefs.IsInvalidArgument},
		{"no_vcpus", func(c *sandbox.VMConfig) { c.VCPUs = 0 }, errdefs.IsInvalidArgument},
		{"negative_memory", func(c *sandbox.VMConfig) { c.MemoryMiB = -1 }, errdefs.IsInvalidArgument},
		{"no_kernel", func(c *sandbox.VMConfig) { c.Kernel += ".gone" }, errdefs.IsNotFound},
		{"no_initrd", func(c *sandbox.VMConfig) { c.Initrd += ".gone" }, errdefs.IsNotFound},
	} {
		if e.Clones && (tc.name == "no_kernel" || tc.name == "no_initrd") {
			continue
		}
		c := good
		tc.change(&c)
		if vm, err := e.Driver.Create(t.Context(), c); !tc.is(err) {
			t.Errorf("%s: Create() = %v", tc.name, err)
			if err == nil {
				stop(t, vm)
			}
		}
	}
	vm := create(t, e, "suite-create")
	if _, err := e.Driver.Create(t.Context(), good); !errdefs.IsAlreadyExists(err) {
		t.Errorf("Create() of an id that is taken = %v, want AlreadyExists", err)
	}
	stop(t, vm)
}

// testLife goes through the calls that need no guest that answers.
func testLife(t *testing.T, e Env) {
	vm := create(t, e, "suite-life")
	if err := vm.Err(); err != nil {
		t.Errorf("Err() of a created VM = %v", err)
	}
	if _, err := vm.Dial(t.Context(), wire.Echo); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Dial() before Start = %v, want FailedPrecondition", err)
	}
	if _, err := vm.AttachNIC(t.Context(), sandbox.NIC{Name: "eth0", Namespace: "/n", Interface: "eth0"}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("AttachNIC() before Start = %v, want FailedPrecondition", err)
	}
	if err := vm.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := vm.Start(t.Context()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("second Start() = %v, want FailedPrecondition", err)
	}
	select {
	case <-vm.Done():
		t.Error("VM ended by itself")
	default:
	}
	stop(t, vm)
	select {
	case <-vm.Done():
	default:
		t.Error("Done is open after Stop")
	}
	stop(t, vm)
	if err := vm.Err(); err != nil {
		t.Errorf("Err() after Stop = %v, want nil", err)
	}
	if _, err := vm.Dial(t.Context(), wire.Echo); !errdefs.IsUnavailable(err) {
		t.Errorf("Dial() after Stop = %v, want Unavailable", err)
	}

	never := create(t, e, "suite-never")
	stop(t, never)
	if err := never.Start(t.Context()); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Start() after Stop = %v, want FailedPrecondition", err)
	}
}

func testRunning(t *testing.T, e Env) {
	vm := boot(t, e, "suite-running")
	t.Run("echo", func(t *testing.T) { testEcho(t, vm) })
	t.Run("many_streams", func(t *testing.T) { testManyStreams(t, vm) })
	t.Run("close", func(t *testing.T) { testClose(t, vm) })
	t.Run("dial_canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if c, err := vm.Dial(ctx, wire.Echo); err == nil {
			_ = c.Close() // it was open before it looked: allowed
		} else if !errdefs.IsCanceled(err) {
			t.Errorf("Dial() with an ended context = %v", err)
		}
	})
	t.Run("disks", func(t *testing.T) { testDisks(t, vm, e) })
	t.Run("bad_disks", func(t *testing.T) { testBadDisks(t, vm, e) })
	t.Run("nic", func(t *testing.T) { testNIC(t, vm, e) })
	stop(t, vm)
}

func testEcho(t *testing.T, vm sandbox.VM) {
	c := dial(t, vm, wire.Echo)
	want := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // four windows of the mux
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(want)
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("echoed %d bytes of %d, %v", len(got), len(want), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func testManyStreams(t *testing.T, vm sandbox.VM) {
	const n = 40
	errs := make(chan error, n)
	for i := range n {
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
			defer cancel()
			c, err := vm.Dial(ctx, wire.Echo)
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			want := fmt.Sprintf("stream %d", i)
			_, _ = io.WriteString(c, want)
			_ = c.(Conn).CloseWrite()
			got, err := io.ReadAll(c)
			if err == nil && string(got) != want {
				err = fmt.Errorf("echoed %q, want %q", got, want)
			}
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// testClose closes a stream that is being read and one whose guest still writes.
func testClose(t *testing.T, vm sandbox.VM) {
	c := dial(t, vm, wire.Echo)
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	if err := c.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	select {
	case err := <-read:
		if err == nil {
			t.Error("Read() on a closed stream returned no error")
		}
	case <-time.After(30 * time.Second):
		t.Error("Close did not wake the reader")
	}
	// More than the guest may send unread: it must not wait for ever.
	c = dial(t, vm, wire.Echo)
	go func() { _, _ = c.Write(make([]byte, 1<<20)) }()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("Read() after Close returned no error")
	}
}

func testCrash(t *testing.T, e Env) {
	vm := boot(t, e, "suite-crash")
	open := dial(t, vm, wire.Echo)
	end(t, vm, wire.Crash)
	ended(t, vm, "panic")
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("Read() from a guest that died returned no error")
	}
	if _, err := vm.Dial(t.Context(), wire.Echo); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "panic") {
		t.Errorf("Dial() after the guest's death = %v, want Unavailable with its console", err)
	}
	if _, err := vm.AttachDisk(t.Context(), makeDisk(t, e.writable(), 1<<20, "x")); !errdefs.IsUnavailable(err) {
		t.Errorf("AttachDisk() after the guest's death = %v, want Unavailable", err)
	}
	stop(t, vm)
	if vm.Err() == nil {
		t.Error("Stop after the guest's death made Err nil")
	}
}

func testLeave(t *testing.T, e Env) {
	vm := boot(t, e, "suite-leave")
	_ = dial(t, vm, wire.Echo)
	end(t, vm, wire.Leave)
	ended(t, vm, "")
	stop(t, vm)
}

// end makes the guest end by itself. It may be gone before Dial returns.
func end(t *testing.T, vm sandbox.VM, port uint32) {
	t.Helper()
	c, err := vm.Dial(t.Context(), port)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	} else if !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
}

// ended waits for a VM to end by itself and checks what it says.
func ended(t *testing.T, vm sandbox.VM, word string) {
	t.Helper()
	select {
	case <-vm.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("VM did not end")
	}
	err := vm.Err()
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), "console") {
		t.Errorf("Err() = %v, want Unavailable, %q and the console", err, word)
	}
}

var _ net.Conn = Conn(nil)
