package drivertest

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/hashicorp/yamux"

	"github.com/porthole-run/porthole/guest/api"
	"github.com/porthole-run/porthole/sandbox/qemuvm/mux"
)

// Link carries streams to a guest within this process, through the mux that real VMs have.
type Link struct {
	client *mux.Client
	guest  sync.WaitGroup // the guest's goroutines
}

// NewLink makes a Link to a guest that serves each stream with serve, on a goroutine of its own.
func NewLink(serve func(port uint32, conn Conn)) (*Link, error) {
	host, guest := net.Pipe()
	client, err := mux.New(host)
	if err != nil {
		return nil, err
	}
	session, err := yamux.Server(guest, api.MuxConfig())
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	l := &Link{client: client}
	l.guest.Go(func() {
		defer session.Close()
		for {
			s, err := session.AcceptStream()
			if err != nil {
				return
			}
			l.guest.Go(func() {
				port, err := api.ReadPort(s)
				if err != nil {
					_ = s.Close()
					return
				}
				serve(port, guestConn{s})
			})
		}
	})
	return l, nil
}

// Dial opens a stream to a port of the guest; the conn has CloseWrite.
func (l *Link) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	return l.client.Dial(ctx, port)
}

// Close ends all streams and waits for what serves them, which must not call it.
func (l *Link) Close() {
	_ = l.client.Close()
	l.guest.Wait()
}

// guestConn is the guest's end of a stream.
type guestConn struct{ *yamux.Stream }

func (c guestConn) CloseWrite() error { return c.Stream.Close() }
