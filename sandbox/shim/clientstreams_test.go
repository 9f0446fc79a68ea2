package shim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/porthole-run/porthole/sandbox"
)

// TestExec_InputBreaksOff: half of an input is not passed off as all of it. The process
// goes on to wait until who noticed ends the call.
func TestExec_InputBreaksOff(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	r.start(t, containerSetup("c1", "sleep"))
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	var out bytes.Buffer
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrUnexpectedEOF))
	code, err := r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"cat"}}, sandbox.Streams{Stdin: broken, Stdout: &out})
	if !errors.Is(err, context.DeadlineExceeded) || out.String() != "half" {
		t.Errorf("cat of input that breaks off: %d, %v, %q; want it to wait for more", code, err, &out)
	}
}
