package guest

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
)

const (
	// clockTolerance is how far off a guest's clock may be. Each step is a jump for what
	// runs there.
	clockTolerance = 10 * time.Millisecond
	// clockSamples is how often the clock is read at most, and quickSample is how soon an
	// answer comes that is as good as any.
	clockSamples = 4
	quickSample  = 5 * time.Millisecond
)

// SetClock steps the guest's clock to the host's when it is off by more than a few
// milliseconds. How long a call takes on a busy host does not make the clock wrong: the
// guest is asked what it shows, and told the difference.
func (c *Client) SetClock(ctx context.Context) error {
	offset, doubt, err := c.ClockOffset(ctx)
	if err != nil {
		return inGuest(err)
	}
	if offset.Abs() <= max(doubt, clockTolerance) {
		return nil
	}
	_, err = call(ctx, c.api.SetClock, &api.SetClockRequest{StepNanos: -int64(offset)})
	return inGuest(err)
}

// ClockOffset says how far the guest's clock is ahead of the host's, and by how much that
// may be wrong: the guest's answer is of some moment between question and answer, and of
// several the quickest counts.
func (c *Client) ClockOffset(ctx context.Context) (offset, doubt time.Duration, err error) {
	for i := range clockSamples {
		begin := time.Now()
		r, err := call(ctx, c.api.SetClock, &api.SetClockRequest{})
		took := time.Since(begin)
		if err != nil {
			return 0, 0, err
		}
		if r.GetUnixNanos() <= 0 {
			return 0, 0, fmt.Errorf("guest's clock shows %d: %w", r.GetUnixNanos(), errdefs.ErrInvalidArgument)
		}
		if i == 0 || took/2 < doubt {
			offset, doubt = time.Unix(0, r.GetUnixNanos()).Sub(begin.Add(took/2)), took/2
		}
		if took < quickSample {
			break
		}
	}
	return offset, doubt, nil
}
