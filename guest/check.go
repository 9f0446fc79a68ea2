package guest

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/guest/api"
)

// Bounds of what is taken from a guest.
const (
	maxErrorText = 4 << 10
	maxInfoText  = 128
	maxID        = 256
	maxGroups    = 65536 // Linux's NGROUPS_MAX
	maxLayers    = 4096
	maxExitCode  = 255
)

// clean makes a text from the guest fit for a log line or a terminal: at most limit
// bytes of printable characters, each other character turned into a space.
func clean(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	s = strings.ToValidUTF8(s, "?")
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if cut {
		s += "…"
	}
	return strings.TrimSpace(s)
}

// bad is the error for an answer that no sound agent gives.
func bad(format string, args ...any) error {
	return fmt.Errorf("guest answered %s: %w", fmt.Sprintf(format, args...), errdefs.ErrDataLoss)
}

func checkPID(pid uint32) (int, error) {
	if pid == 0 || pid > math.MaxInt32 {
		return 0, bad("process id %d", pid)
	}
	return int(pid), nil
}

func checkExit(e *api.Exit) (Exit, error) {
	if e == nil {
		return Exit{}, bad("no exit")
	}
	if e.GetCode() > maxExitCode {
		return Exit{}, bad("exit code %d", e.GetCode())
	}
	return Exit{
		Code:      int(e.GetCode()),
		At:        time.Unix(0, e.GetExitedUnixNanos()),
		OOMKilled: e.GetOomKilled(),
	}, nil
}

func checkUser(u *api.ResolvedUser) (ResolvedUser, error) {
	if u == nil {
		return ResolvedUser{}, bad("no user")
	}
	if n := len(u.GetAdditionalGids()); n > maxGroups {
		return ResolvedUser{}, bad("%d groups", n)
	}
	return ResolvedUser{UID: u.GetUid(), GID: u.GetGid(), AdditionalGIDs: u.GetAdditionalGids()}, nil
}

// checkUnused checks ids of layers or volumes that a guest tells of.
func checkUnused(kind string, ids []string) error {
	if len(ids) > maxLayers {
		return bad("%d %ss", len(ids), kind)
	}
	for _, id := range ids {
		if id == "" || len(id) > maxID {
			return bad("a %s id of %d bytes", kind, len(id))
		}
	}
	return nil
}

func checkHello(h *api.HelloResponse) (Info, error) {
	if v := h.GetVersion(); v < api.MinVersion || v > api.MaxVersion {
		return Info{}, bad("protocol version %d, asked for %d to %d", v, api.MinVersion, api.MaxVersion)
	}
	return Info{
		Protocol:       int(h.GetVersion()),
		AgentVersion:   clean(h.GetAgentVersion(), maxInfoText),
		KernelRelease:  clean(h.GetKernelRelease(), maxInfoText),
		BootID:         clean(h.GetBootId(), maxInfoText),
		RuntimeVersion: clean(h.GetRuntimeVersion(), maxInfoText),
		MemoryBytes:    h.GetMemoryBytes(),
		Seeded:         h.GetSeeded(),
	}, nil
}

// checkEvent checks an event that follows the one numbered last.
func checkEvent(e *api.Event, last uint64) (Event, error) {
	if e.GetSeq() <= last {
		return Event{}, bad("event %d after %d", e.GetSeq(), last)
	}
	if id := e.GetContainerId(); id == "" || len(id) > maxID {
		return Event{}, bad("an event for a container id of %d bytes", len(id))
	}
	if len(e.GetExecId()) > maxID {
		return Event{}, bad("an event for an exec id of %d bytes", len(e.GetExecId()))
	}
	out := Event{
		Seq:         e.GetSeq(),
		ContainerID: clean(e.GetContainerId(), maxID),
		ExecID:      clean(e.GetExecId(), maxID),
	}
	switch k := e.GetKind().(type) {
	case *api.Event_Exit:
		exit, err := checkExit(k.Exit)
		if err != nil {
			return Event{}, err
		}
		out.Exit = &exit
	case *api.Event_Oom:
	default:
		return Event{}, bad("an event of no kind")
	}
	return out, nil
}
