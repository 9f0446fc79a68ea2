package selftest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// doors is a host's pipes and folders, as data. Its knobs are set before a run.
type doors struct {
	deafFirst bool  // a pipe's first client is never answered
	shared    bool  // a name may be had twice
	lax       bool  // access lists are not looked at
	remote    error // what opening by the network's name says
	network   bool  // opening by the network's name works
	noUsers   bool  // threads get no user's rights

	mu     sync.Mutex // guards what follows
	pipes  map[string]*doorPipe
	closed []string // private folders
	user   bool     // the thread has a user's rights
}

type doorPipe struct {
	d     *doors
	name  string
	conns chan net.Conn
	done  chan struct{}
	first bool // no client has come yet
}

func (d *doors) Listen(_ context.Context, name string) (net.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pipes[name] != nil && !d.shared {
		return nil, fmt.Errorf("pipe %s: %w", name, fs.ErrExist)
	}
	p := &doorPipe{d: d, name: name, conns: make(chan net.Conn), done: make(chan struct{}), first: true}
	d.pipes[name] = p
	return p, nil
}

func (d *doors) Dial(_ context.Context, name string) (net.Conn, error) {
	d.mu.Lock()
	p := d.pipes[name]
	if p == nil {
		d.mu.Unlock()
		return nil, fs.ErrNotExist
	}
	lost := p.first && d.deafFirst
	p.first = false
	d.mu.Unlock()
	client, server := net.Pipe()
	if lost {
		return client, nil
	}
	select {
	case p.conns <- server:
		return client, nil
	case <-p.done:
		return nil, fs.ErrNotExist
	}
}

func (d *doors) Folder(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = append(d.closed, dir)
	return os.Mkdir(dir, 0o700)
}

func (d *doors) AsUser(f func() error) error {
	if d.noUsers {
		return errors.New("no such token")
	}
	d.mu.Lock()
	d.user = true
	d.mu.Unlock()
	err := f()
	d.mu.Lock()
	d.user = false
	d.mu.Unlock()
	return err
}

func (d *doors) Open(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case strings.HasPrefix(path, remotePipe):
		if !d.network {
			return d.remote
		}
		return nil
	case d.user && !d.lax:
		return fmt.Errorf("open %s: %w", path, fs.ErrPermission)
	}
	return nil
}

func (p *doorPipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *doorPipe) Close() error {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	if p.d.pipes[p.name] == p {
		delete(p.d.pipes, p.name)
	}
	close(p.done)
	return nil
}

func (*doorPipe) Addr() net.Addr { return nil }

// TestRun_Edge: each row about pipes and folders tells a host that is as assumed, and one that is not; nothing
// is left of either.
func TestRun_Edge(t *testing.T) {
	good := fmt.Errorf("access: %w", fs.ErrPermission)
	for _, tc := range []struct {
		id      string
		outcome Outcome
		detail  string // part of it
		host    *doors
	}{
		{"pipe-clients", Holds, "10 pipes", &doors{}},
		{"pipe-clients", Fails, "timeout", &doors{deafFirst: true}},
		{"pipe-alone", Holds, "exists", &doors{}},
		{"pipe-alone", Fails, "has the name as well", &doors{shared: true}},
		{"pipe-access", Holds, "permission denied", &doors{}},
		{"pipe-access", Fails, "no administrator opened it", &doors{lax: true}},
		{"pipe-access", Unclear, "no such token", &doors{noUsers: true}},
		{"pipe-remote", Holds, "permission denied", &doors{remote: good}},
		{"pipe-remote", Fails, "127.0.0.1", &doors{network: true}},
		{"pipe-remote", Unclear, "no server", &doors{remote: errors.New("no server")}},
		{"folder-access", Holds, "permission denied", &doors{}},
		{"folder-access", Fails, "no administrator opened it", &doors{lax: true}},
		{"folder-access", Unclear, "no such token", &doors{noUsers: true}},
	} {
		t.Run(tc.id+"/"+string(tc.outcome), func(t *testing.T) {
			d := tc.host
			d.pipes = map[string]*doorPipe{}
			dir := t.TempDir()
			r := Run(t.Context(), Lab{Dir: dir, Edge: d, Times: Times{Refuse: 500 * time.Millisecond}}, Options{Only: []string{tc.id}})
			if len(r.Results) != 1 || r.Results[0].Outcome != tc.outcome || !strings.Contains(r.Results[0].Detail, tc.detail) {
				t.Errorf("%v, want %s with %q", r.Results, tc.outcome, tc.detail)
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) > 0 || len(d.pipes) > 0 {
				t.Errorf("left behind: %v, %v, %v", left, d.pipes, err)
			}
		})
	}
}
