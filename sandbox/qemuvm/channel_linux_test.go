package qemuvm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest"
	"github.com/porthole-run/porthole/internal/testneed"
)

// TestChannel attaches shares over channels in a real guest. The server is the least that
// the guest's kernel takes for one: it agrees to INIT and refuses the rest.
func TestChannel(t *testing.T) {
	bundle := os.Getenv("PORTHOLE_GUEST")
	if bundle == "" {
		testneed.Skip(t, "a guest bundle: set PORTHOLE_GUEST")
	}
	r := newRig(t)
	r.kernel, r.initrd = filepath.Join(bundle, "vmlinux"), filepath.Join(bundle, "initrd")
	v := r.boot(t, r.driver(t, nil), "channel")
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	client, err := guest.Connect(ctx, v, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	open := func(name string) net.Conn {
		t.Helper()
		c, err := v.OpenChannel(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	attach := func() (id uint64, ended chan error, c net.Conn) {
		t.Helper()
		id = client.NewShareID()
		name := fmt.Sprintf("share.%d", id)
		c = open(name)
		ended = make(chan error, 1)
		go func() { ended <- serveINIT(c) }()
		begin := time.Now()
		if err := client.AttachShare(ctx, guest.Share{ID: id, Channel: name}); err != nil {
			t.Fatal(err)
		}
		t.Logf("share %d attached after %v", id, time.Since(begin).Round(time.Millisecond))
		return id, ended, c
	}

	// The guest ends it: the host's end is read to its end, and the name is used up.
	id, ended, c := attach()
	if err := client.AttachShare(ctx, guest.Share{ID: id, Channel: "share.x"}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("AttachShare again = %v, want AlreadyExists", err)
	}
	if err := client.DetachShare(ctx, id); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != io.EOF {
			t.Errorf("the channel ended with %v, want EOF", err)
		}
	case <-ctx.Done():
		t.Error("the channel did not end with the share")
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := v.OpenChannel(ctx, fmt.Sprintf("share.%d", id)); !errdefs.IsAlreadyExists(err) {
		t.Errorf("OpenChannel of a name that was used = %v, want AlreadyExists", err)
	}

	// The host ends it: the share is there until it is detached.
	id, _, c = attach()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := client.DetachShare(ctx, id); err != nil {
		t.Error(err)
	}

	// A server that refuses, on the mux.
	id = client.NewShareID()
	mux, err := client.OpenShare(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	mux.Close()
	if err := client.AttachShare(ctx, guest.Share{ID: id}); !errdefs.IsUnavailable(err) {
		t.Errorf("AttachShare without a server = %v, want Unavailable", err)
	}

	// All ports, none of which the host reads: QEMU and the mux go on.
	var all []net.Conn
	for i := range maxChannels {
		all = append(all, open(fmt.Sprintf("idle.%d", i)))
	}
	if _, err := v.OpenChannel(ctx, "one.more"); !errdefs.IsResourceExhausted(err) {
		t.Errorf("OpenChannel beyond the last = %v, want ResourceExhausted", err)
	}
	if err := client.SetClock(ctx); err != nil {
		t.Error(err)
	}
	for _, c := range all {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	attach() // there is room again
}

// serveINIT answers requests until the stream ends, and returns why.
func serveINIT(c net.Conn) error {
	le := binary.LittleEndian
	for {
		var head [40]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c, int64(le.Uint32(head[:]))-40); err != nil {
			return err
		}
		reply := append([]byte{16: 0}[:8], head[8:16]...)
		switch op := le.Uint32(head[4:]); {
		case op >= 0x10000 || op == 2: // of the relay, FORGET
			continue
		case op == 26: // INIT
			reply = append(reply, make([]byte, 64)...)
			le.PutUint32(reply[16:], 7)
			le.PutUint32(reply[20:], 31)
			le.PutUint32(reply[24:], 128<<10)
			le.PutUint32(reply[36:], 128<<10)
			le.PutUint16(reply[32:], 16)
		default:
			errno := int32(-38) // ENOSYS
			le.PutUint32(reply[4:], uint32(errno))
		}
		le.PutUint32(reply, uint32(len(reply)))
		if _, err := c.Write(reply); err != nil {
			return err
		}
	}
}
