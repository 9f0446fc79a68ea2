//go:build linux

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/porthole-run/porthole/guest/agent/podns"
	"github.com/porthole-run/porthole/guest/agent/reap"
	"github.com/porthole-run/porthole/guest/api"
)

// prepare does ahead what is the same for each VM's first pod. A template does it, whose
// clones then have it in their memory: whatever it makes must be nobody's secret and no
// one's name (docs/decisions/0030-templates-have-namespaces.md). It may be called again.
func (a *Agent) prepare() error {
	if err := meetTypes(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.standby != nil {
		return nil
	}
	pause, err := a.cfg.Namespaces.Start(podns.Options{})
	if err != nil {
		return err
	}
	if err := a.cfg.Namespaces.Prepare(pause.PID()); err != nil {
		kill(pause) // the kernel moves the NICs back
		return err
	}
	a.standby = pause
	return nil
}

// pauseOf gives a pod namespaces of its own: those that wait, if it asks for nothing that
// would make others of them: those are prepared, and have the NICs. Sysctls are set before NICs
// come, which take some over.
func (a *Agent) pauseOf(p *pod, sysctls map[string]string) (pause *reap.Process, prepared bool, err error) {
	a.mu.Lock()
	waiting := a.standby
	a.standby = nil
	a.mu.Unlock()
	if waiting != nil && !ended(waiting) { // the kernel moves the NICs of one that ended back
		if p.namespaces == (podns.Options{}) && len(sysctls) == 0 {
			p.hadWaiting = true
			return waiting, true, nil
		}
		err := a.cfg.Namespaces.ReleaseNetwork(waiting.PID(), p.interfaces)
		kill(waiting)
		if err != nil {
			return nil, false, fmt.Errorf("take NICs out of waiting namespaces: %w", err)
		}
	}
	pause, err = a.cfg.Namespaces.Start(p.namespaces)
	return pause, false, err
}

// prepareAgain has namespaces wait anew once the pod that had those that waited is gone: in a
// spare VM the one that warmed it up has taken the template's. Without them the next pod is
// made as in any VM.
func (a *Agent) prepareAgain(p *pod) {
	if !p.hadWaiting {
		return
	}
	if err := a.prepare(); err != nil {
		slog.Warn("make namespaces for a next pod", "error", err)
	}
}

func ended(p *reap.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// meetTypes has the libraries make up what they know of types when they first meet them,
// which takes some ten milliseconds where the processor is emulated.
func meetTypes() error {
	messages := api.File_guest_proto.Messages()
	for i := range messages.Len() {
		if err := meetMessage(messages.Get(i).FullName()); err != nil {
			return err
		}
	}
	b, err := json.Marshal(&specs.Spec{})
	if err == nil {
		err = json.Unmarshal(b, &specs.Spec{})
	}
	return err
}

func meetMessage(name protoreflect.FullName) error {
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return err
	}
	m := t.New().Interface()
	b, err := proto.Marshal(m)
	return errors.Join(err, proto.Unmarshal(b, m))
}
