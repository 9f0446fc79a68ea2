//go:build linux

package agent

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/guest/agent/share"
	"github.com/porthole-run/porthole/guest/api"
)

// fakeShares keeps which shares are mounted on the machine.
type fakeShares struct{ *machine }

func (f fakeShares) Path(id uint64) string { return fmt.Sprint("/shares/", id) }

func (f fakeShares) Attach(_ context.Context, o share.Options) (func(context.Context) error, error) {
	if err := f.step("share"); err != nil {
		return nil, err
	}
	return func(context.Context) error { f.drop("share"); return nil }, nil
}

func TestShares_Requests(t *testing.T) {
	a := New(Config{Shares: fakeShares{newMachine(t)}})
	c := &control{Agent: a}
	good := func() *api.AttachShareRequest {
		return &api.AttachShareRequest{ShareId: 1, RootType: unix.S_IFDIR, Channel: "porthole.share.1"}
	}
	for name, change := range map[string]func(*api.AttachShareRequest){
		"no_id":        func(r *api.AttachShareRequest) { r.ShareId = 0 },
		"type":         func(r *api.AttachShareRequest) { r.RootType = unix.S_IFLNK },
		"channel":      func(r *api.AttachShareRequest) { r.Channel = "a b" },
		"long_channel": func(r *api.AttachShareRequest) { r.Channel = string(make([]byte, 65)) },
	} {
		r := good()
		change(r)
		if _, err := c.AttachShare(t.Context(), r); status.Code(toStatus(err)) != codes.InvalidArgument {
			t.Errorf("%s: AttachShare = %v, want InvalidArgument", name, err)
		}
	}
	if _, err := c.AttachShare(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachShare(t.Context(), good()); status.Code(toStatus(err)) != codes.AlreadyExists {
		t.Errorf("AttachShare again = %v, want AlreadyExists", err)
	}
	detach := func() error {
		_, err := c.DetachShare(t.Context(), &api.DetachShareRequest{ShareId: 1})
		return err
	}
	if _, err := a.useShare(1); err != nil {
		t.Fatal(err)
	}
	if err := detach(); status.Code(toStatus(err)) != codes.FailedPrecondition {
		t.Errorf("DetachShare in use = %v, want FailedPrecondition", err)
	}
	a.dropShare(1)
	for range 2 {
		if err := detach(); err != nil {
			t.Errorf("DetachShare = %v", err)
		}
	}
	if _, err := a.useShare(1); status.Code(toStatus(err)) != codes.NotFound {
		t.Errorf("useShare after DetachShare = %v, want NotFound", err)
	}
	if len(a.shares) != 0 {
		t.Errorf("%d shares are kept", len(a.shares))
	}
}

// TestShares_Fails keeps nothing of a share that was not attached.
func TestShares_Fails(t *testing.T) {
	m := newMachine(t)
	m.failAt = 1
	c := &control{Agent: New(Config{Shares: fakeShares{m}})}
	r := &api.AttachShareRequest{ShareId: 7, RootType: unix.S_IFREG, Channel: "c"}
	if _, err := c.AttachShare(t.Context(), r); err == nil {
		t.Fatal("AttachShare succeeded")
	}
	if _, err := c.AttachShare(t.Context(), r); err != nil {
		t.Errorf("AttachShare after it failed = %v", err)
	}
}
