package selftest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Edge is where clients of this host meet the daemon: its named pipes and folders, made as the daemon
// makes them.
type Edge interface {
	// Listen makes a pipe as the CRI's endpoint is by default. fs.ErrExist when it is there.
	Listen(ctx context.Context, name string) (net.Listener, error)
	// Dial connects as the program's own clients do.
	Dial(ctx context.Context, name string) (net.Conn, error)
	// Folder makes a folder as the daemon's root and state are made.
	Folder(dir string) error
	// AsUser calls f on a thread with the rights of an ordinary user of this host.
	AsUser(f func() error) error
	// Open opens a pipe or a folder's list, with no checks of our own: fs.ErrPermission when
	// Windows refuses.
	Open(path string) error
}

// edgeRows are about internal/localsock and internal/privatedir.
var edgeRows = []Row{
	{
		ID: "pipe-clients", Part: PartEdge, run: checkPipeClients,
		Assumed: "Each client of a pipe is answered, the first one too: none meets the instance that is made for the name alone",
		Shows:   "the kubelet's first connection hangs",
		Do:      "`useUp` in `internal/localsock`, for this Windows too",
	},
	{
		ID: "pipe-alone", Part: PartEdge, run: checkPipeAlone,
		Assumed: "A pipe's name is of one listener alone, until that ends",
		Shows:   "a second daemon takes some of the kubelet's connections",
	},
	{
		ID: "pipe-access", Part: PartEdge, run: checkPipeAccess,
		Assumed: "The default access list keeps all but Administrators and SYSTEM from the CRI's pipe",
		Shows:   "any user of the host may run privileged pods",
		Do:      "`grpc.security_descriptor`",
	},
	{
		ID: "pipe-remote", Part: PartEdge, run: checkPipeRemote,
		Assumed: "A pipe is not to be reached by the name of a host, be it this one's",
		Shows:   "administrators of other hosts reach the CRI",
	},
	{
		ID: "folder-access", Part: PartEdge, run: checkFolderAccess,
		Assumed: "The daemon's folders are closed to all but Administrators and SYSTEM",
		Shows:   "users of the host read pods' secrets",
		Do:      "`internal/privatedir`",
	},
}

// localPipe and remotePipe are how a pipe is named on this host, and over the network.
const (
	localPipe  = `\\.\pipe\`
	remotePipe = `\\127.0.0.1\pipe\`
)

// door is a pipe whose listener sends back what each client says.
type door struct {
	name  string // without what comes before it
	l     net.Listener
	conns sync.WaitGroup
}

// open makes a pipe with a new name.
func (b *bench) open(ctx context.Context) (*door, error) {
	if b.lab.Edge == nil {
		return nil, errMissing(nil, "named pipes")
	}
	random := make([]byte, 8)
	rand.Read(random)
	d := &door{name: "porthole-selftest-" + hex.EncodeToString(random)}
	var err error
	if d.l, err = b.lab.Edge.Listen(ctx, localPipe+d.name); err != nil {
		return nil, failure{err}
	}
	d.conns.Go(func() {
		for {
			c, err := d.l.Accept()
			if err != nil {
				return
			}
			d.conns.Go(func() {
				defer c.Close()
				if c.SetDeadline(time.Now().Add(b.lab.Times.Refuse)) == nil {
					_, _ = io.CopyN(c, c, greeting)
				}
			})
		}
	})
	return d, nil
}

func (d *door) close() {
	_ = d.l.Close()
	d.conns.Wait()
}

// greeting is how many bytes a client says.
const greeting = 16

// greet says something by a pipe, and wants it back.
func (b *bench) greet(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, b.lab.Times.Refuse)
	defer cancel()
	c, err := b.lab.Edge.Dial(ctx, name)
	if err != nil {
		return err
	}
	defer c.Close()
	said, heard := make([]byte, greeting), make([]byte, greeting)
	rand.Read(said)
	if err := c.SetDeadline(time.Now().Add(b.lab.Times.Refuse)); err != nil {
		return err
	}
	if _, err := c.Write(said); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, heard); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	if string(said) != string(heard) {
		return errors.New("the answer is another client's")
	}
	return nil
}

// pipeClients come at once, and pipesMade is how many pipes they come to: it is the first client of each
// that matters.
const (
	pipeClients = 4
	pipesMade   = 10
)

func checkPipeClients(ctx context.Context, b *bench) verdict {
	for range pipesMade {
		d, err := b.open(ctx)
		if err != nil {
			return lackOrFailure(err)
		}
		errs := make([]error, pipeClients)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = b.greet(ctx, localPipe+d.name) })
		}
		wg.Wait()
		d.close()
		if err := errors.Join(errs...); err != nil {
			return fails("%v", err)
		}
	}
	return holds("%d pipes, with %d clients each", pipesMade, pipeClients)
}

func checkPipeAlone(ctx context.Context, b *bench) verdict {
	d, err := b.open(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	second, err := b.lab.Edge.Listen(ctx, localPipe+d.name)
	if err == nil {
		err = second.Close()
		d.close()
		return fails("a second listener has the name as well (%v)", err)
	}
	refused := err
	if !errors.Is(refused, fs.ErrExist) {
		d.close()
		return fails("a second listener is refused with %v", refused)
	}
	err = b.greet(ctx, localPipe+d.name)
	d.close()
	if err != nil {
		return fails("after a second listener was refused: %v", err)
	}
	again, err := b.lab.Edge.Listen(ctx, localPipe+d.name)
	if err != nil {
		return fails("once the listener has ended: %v", err)
	}
	if err := again.Close(); err != nil {
		return fails("%v", err)
	}
	return holds("%v", refused)
}

func checkPipeAccess(ctx context.Context, b *bench) verdict {
	d, err := b.open(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	defer d.close()
	if err := b.greet(ctx, localPipe+d.name); err != nil {
		return fails("an administrator: %v", err)
	}
	return b.closedToUsers(localPipe + d.name)
}

// closedToUsers is whether Windows keeps an ordinary user from what is at a path.
func (b *bench) closedToUsers(path string) verdict {
	reached := false
	err := b.lab.Edge.AsUser(func() error {
		reached = true
		return b.lab.Edge.Open(path)
	})
	switch {
	case !reached:
		return unclear("no thread with a user's rights: %v", err)
	case err == nil:
		return fails("a user who is no administrator opened it")
	case !errors.Is(err, fs.ErrPermission):
		return unclear("a user who is no administrator got another error than that he may not: %v", err)
	}
	return holds("a user who is no administrator: %v", err)
}

func checkPipeRemote(ctx context.Context, b *bench) verdict {
	d, err := b.open(ctx)
	if err != nil {
		return lackOrFailure(err)
	}
	defer d.close()
	switch err := b.lab.Edge.Open(remotePipe + d.name); {
	case err == nil:
		return fails("it was opened as %s", remotePipe+d.name)
	case errors.Is(err, fs.ErrPermission):
		return holds("%v", err)
	default:
		return unclear("nothing of this host is to be reached that way, it seems: %v", err)
	}
}

func checkFolderAccess(_ context.Context, b *bench) verdict {
	if b.lab.Edge == nil {
		return notRun("%v", errMissing(nil, "folders"))
	}
	dir := filepath.Join(b.lab.Dir, b.name())
	if err := b.lab.Edge.Folder(dir); err != nil {
		return fails("%v", err)
	}
	defer os.RemoveAll(dir) // what is left in the run's folder goes with that
	if err := b.lab.Edge.Open(dir); err != nil {
		return fails("an administrator: %v", err)
	}
	return b.closedToUsers(dir)
}
