package mux

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// eventsAgain is how long a side whose events ended is left alone.
const eventsAgain = time.Second

// events are those of both sides as they come. A side that goes away is asked again until
// it is back; what happened meanwhile is in lists, which a kubelet asks for all the same.
// Where one side has no events there are none: a kubelet would take them for all.
func (m *Mux) events(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sending sync.Mutex
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.each(func(_ int, s *side) error {
			for bounded.Err() == nil {
				err := m.eventsOf(bounded, s, method, in, func(f *frame) error {
					sending.Lock()
					defer sending.Unlock()
					return out.SendMsg(f)
				})
				if status.Code(err) == codes.Unimplemented {
					cancel(err)
					return err
				}
				select {
				case <-bounded.Done():
				case <-time.After(eventsAgain):
				}
			}
			return nil
		})
	}()
	select {
	case <-done:
	case <-m.draining:
		cancel(status.Error(codes.Unavailable, "the server ends"))
		<-done
	}
	if err := context.Cause(bounded); status.Code(err) != codes.Unknown {
		return err
	}
	return status.FromContextError(bounded.Err()).Err()
}

// eventsOf hands over a side's events until they end.
func (m *Mux) eventsOf(ctx context.Context, s *side, method string, in []frame, send func(*frame) error) error {
	call, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(frameCodec{}))
	if err != nil {
		return err
	}
	for i := range in {
		if err := call.SendMsg(&in[i]); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	if err := call.CloseSend(); err != nil {
		return err
	}
	for {
		var f frame
		if err := call.RecvMsg(&f); err != nil {
			return err
		}
		if err := send(&f); err != nil {
			return err
		}
	}
}
