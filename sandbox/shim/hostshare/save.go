package hostshare

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
)

var _ shim.SavableShare = (*opened)(nil)

// newSession makes the session of a new guest, or of one that goes on.
func (o *opened) newSession(ctx context.Context, c share.Config) (*share.Session, error) {
	s, err := share.NewSession(c)
	if err == nil && o.resume != nil {
		err = saveError(s.Restore(ctx, o.resume))
	}
	if err != nil {
		return nil, err
	}
	o.session.Store(s)
	close(o.made)
	return s, nil
}

// Save implements shim.SavableShare.
func (o *opened) Save(ctx context.Context) ([]byte, func() bool, error) {
	s := o.session.Load()
	if s == nil {
		return nil, nil, fmt.Errorf("save share: it is not served: %w", errdefs.ErrUnavailable)
	}
	saved, unchanged, err := s.Save(ctx)
	return saved, unchanged, saveError(err)
}

// Resume implements shim.SavableShare.
func (o *opened) Resume(ctx context.Context, conn io.ReadWriteCloser, saved []byte, ready func()) error {
	o.resume = saved
	sctx, cancel := context.WithCancel(ctx)
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		select {
		case <-o.made:
		case <-sctx.Done():
			return
		}
		select {
		case <-o.session.Load().Renewed():
			ready()
		case <-sctx.Done():
		}
	}()
	err := o.Serve(ctx, conn)
	cancel()
	<-waited
	return err
}

// saveError gives an error of a session its kind.
func saveError(err error) error {
	switch {
	case errors.Is(err, share.ErrBusy):
		return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	case errors.Is(err, share.ErrLocked), errors.Is(err, share.ErrTable):
		return fmt.Errorf("%w: %w", err, errdefs.ErrFailedPrecondition)
	}
	return err
}
