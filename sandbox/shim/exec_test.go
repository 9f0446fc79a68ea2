package shim

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
)

// TestExec_Calls: an exec is one call to the agent, and forgetting it keeps nobody waiting. An
// agent of an older build is asked for the exit as before.
func TestExec_Calls(t *testing.T) {
	for _, tt := range []struct {
		name     string
		old      bool
		terminal bool
		calls    []string
	}{
		{"one_call", false, false, []string{"Exec", "RemoveExec"}},
		{"old_agent", true, false, []string{"Exec", "Wait", "RemoveExec"}},
		{"terminal", false, true, []string{"Exec", "Wait", "RemoveExec"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			g := r.vm.guest
			r.pod(t)
			r.start(t, containerSetup("c1", "sleep"))
			g.mu.Lock()
			g.old, g.calls, g.hold = tt.old, nil, make(chan struct{})
			g.mu.Unlock()
			code, err := r.Exec(testContext(t), "c1", sandbox.ExecSpec{Args: []string{"exit", "7"}, Terminal: tt.terminal}, sandbox.Streams{})
			if err != nil || code != 7 {
				t.Errorf("Exec = %d, %v", code, err)
			}
			g.hold <- struct{}{} // nobody is there to take it if it was not asked for
			g.awaitNoExecs()
			g.mu.Lock()
			defer g.mu.Unlock()
			if diff := cmp.Diff(tt.calls, g.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExec_RemoveFails: what an exec told stands when the guest does not forget it.
func TestExec_RemoveFails(t *testing.T) {
	r := newRig(t)
	r.pod(t)
	r.start(t, containerSetup("c1", "sleep"))
	r.vm.mu.Lock()
	r.vm.fail = "remove exec"
	r.vm.mu.Unlock()
	if code, err := r.Exec(testContext(t), "c1", sandbox.ExecSpec{Args: []string{"exit", "7"}}, sandbox.Streams{}); err != nil || code != 7 {
		t.Errorf("Exec = %d, %v", code, err)
	}
}
