package ocispec

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

// knownCaps are all capabilities of Linux (as of 5.9; none came since, 2026-11), in the
// kernel's order.
var knownCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// defaultCaps are what a container has that asks for nothing, as with other runtimes.
var defaultCaps = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP",
}

const allCaps = "CAP_ALL"

// capabilities starts with the default set, or with all when ALL is added, or with none
// when ALL is dropped; then it adds, then it drops. Inheritable is left empty but for
// ambient ones: more would let a program's file capabilities out of their bounds.
func capabilities(s sandbox.Security) (*specs.LinuxCapabilities, error) {
	add, err := capNames("security.addCapabilities", s.AddCapabilities)
	if err != nil {
		return nil, err
	}
	drop, err := capNames("security.dropCapabilities", s.DropCapabilities)
	if err != nil {
		return nil, err
	}
	ambient, err := capNames("security.addAmbientCaps", s.AddAmbientCaps)
	if err != nil {
		return nil, err
	}
	if slices.Contains(ambient, allCaps) {
		ambient = knownCaps
	}
	has := make(map[string]bool)
	set := func(names []string, to bool) {
		for _, n := range names {
			has[n] = to
		}
	}
	switch {
	case s.Privileged:
		set(knownCaps, true)
	default:
		set(defaultCaps, true)
		if slices.Contains(add, allCaps) {
			set(knownCaps, true)
		}
		if slices.Contains(drop, allCaps) {
			clear(has)
		}
		set(add, true)
		set(ambient, true)
		set(drop, false)
	}
	var all, amb []string
	for _, n := range knownCaps {
		if has[n] {
			all = append(all, n)
			if slices.Contains(ambient, n) {
				amb = append(amb, n)
			}
		}
	}
	return &specs.LinuxCapabilities{
		Bounding: all, Effective: all, Permitted: all, Inheritable: amb, Ambient: amb,
	}, nil
}

// capNames brings names into the kernel's form; "ALL" becomes allCaps.
func capNames(field string, names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for i, n := range names {
		full := strings.ToUpper(n)
		if !strings.HasPrefix(full, "CAP_") {
			full = "CAP_" + full
		}
		if full != allCaps && !slices.Contains(knownCaps, full) {
			return nil, invalid(fmt.Sprintf("%s[%d]", field, i), "capability %q is not known", n)
		}
		out = append(out, full)
	}
	return out, nil
}
