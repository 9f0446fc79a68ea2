package sandbox

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Signals of the guest, which is Linux whatever the host is.
const (
	sigKill  = 9
	sigRTMin = 34
	sigRTMax = 64
)

var linuxSignals = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "IOT": 6, "BUS": 7, "FPE": 8,
	"KILL": sigKill, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
	"STKFLT": 16, "CHLD": 17, "CLD": 17, "CONT": 18, "STOP": 19, "TSTP": 20, "TTIN": 21,
	"TTOU": 22, "URG": 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27, "WINCH": 28,
	"IO": 29, "POLL": 29, "PWR": 30, "SYS": 31,
}

// parseSignal reads a signal as images and callers write it: "SIGTERM", "term", "15",
// "RTMIN+3" or, as CRI spells that, "SIGRTMINPLUS3". Empty means SIGTERM.
func parseSignal(s string) (int, error) {
	if s == "" {
		s = "TERM"
	}
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > sigRTMax {
			return 0, fmt.Errorf("signal %q is not in 1–%d: %w", s, sigRTMax, errdefs.ErrInvalidArgument)
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n, ok := linuxSignals[name]; ok {
		return n, nil
	}
	if n, ok := realtimeSignal(name); ok {
		return n, nil
	}
	return 0, fmt.Errorf("signal %q is not known: %w", s, errdefs.ErrInvalidArgument)
}

func realtimeSignal(name string) (int, bool) {
	for _, f := range []struct {
		prefix string
		base   int
		sign   int
	}{
		{"RTMINPLUS", sigRTMin, 1}, {"RTMIN+", sigRTMin, 1},
		{"RTMAXMINUS", sigRTMax, -1}, {"RTMAX-", sigRTMax, -1},
	} {
		if rest, ok := strings.CutPrefix(name, f.prefix); ok {
			d, err := strconv.ParseUint(rest, 10, 8)
			n := f.base + f.sign*int(d)
			return n, err == nil && n >= sigRTMin && n <= sigRTMax
		}
	}
	switch name {
	case "RTMIN":
		return sigRTMin, true
	case "RTMAX":
		return sigRTMax, true
	}
	return 0, false
}
