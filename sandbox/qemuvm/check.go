package qemuvm

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/sandbox/qemuvm/tame"
)

// minVersion is the oldest QEMU that the driver is tested with (Debian 12's).
var minVersion = [2]int{7, 2}

// Finding is one thing that the driver needs of the machine.
type Finding struct {
	Name   string // what it is
	OK     bool
	Detail string // what was found
	Fix    string // the command that mends it; empty when OK
}

// Check looks whether the machine has what the driver needs, and says for each need what
// is there and what to do. KVM is Probe's to judge.
func (d *Driver) Check(ctx context.Context) []Finding {
	c := d.config
	found := []Finding{checkBinary(c)}
	if found[0].OK {
		found = append(found, checkVersion(ctx, c), checkMachine(ctx, c))
	}
	return append(found, checkTun(), checkUser(c), checkTSC(c))
}

const installQEMU = "apt-get install qemu-system-x86"

func checkBinary(c Config) Finding {
	f := Finding{Name: "qemu", Detail: c.Binary}
	st, err := os.Stat(c.Binary)
	switch {
	case err != nil:
		f.Detail, f.Fix = err.Error(), installQEMU
	case !st.Mode().IsRegular() || st.Mode()&0o111 == 0:
		f.Detail, f.Fix = c.Binary+" is not a program", installQEMU
	case !readable(st, c.UID, c.GID):
		// The death signal and /proc/self need a program that its user may read.
		f.Detail, f.Fix = fmt.Sprintf("%s cannot be read by uid %d", c.Binary, c.UID), "chmod a+rx "+c.Binary
	default:
		f.OK = true
	}
	return f
}

func checkVersion(ctx context.Context, c Config) Finding {
	f := Finding{Name: "qemu version", Fix: installQEMU}
	line, err := qemuVersion(ctx, c.Binary)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.Detail = line
	major, minor, err := parseVersion(line)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	if major < minVersion[0] || (major == minVersion[0] && minor < minVersion[1]) {
		f.Detail += fmt.Sprintf(", older than %d.%d", minVersion[0], minVersion[1])
		return f
	}
	f.OK, f.Fix = true, ""
	return f
}

// parseVersion reads "QEMU emulator version 7.2.22 (Debian …)".
func parseVersion(line string) (major, minor int, err error) {
	_, rest, ok := strings.Cut(line, "version ")
	parts := strings.SplitN(rest, ".", 3)
	if ok && len(parts) >= 2 {
		major, err = strconv.Atoi(parts[0])
		if err == nil {
			minor, err = strconv.Atoi(strings.TrimRightFunc(parts[1], func(r rune) bool { return r < '0' || r > '9' }))
		}
		if err == nil {
			return major, minor, nil
		}
	}
	return 0, 0, fmt.Errorf("no version in %q", tame.Line(line, 80))
}

func checkMachine(ctx context.Context, c Config) Finding {
	f := Finding{Name: "qemu machine", Detail: "microvm"}
	out, err := output(ctx, c.Binary, "-machine", "help")
	switch {
	case err != nil:
		f.Detail, f.Fix = "ask for machines: "+err.Error(), installQEMU
	case !strings.Contains(out, "\nmicrovm "):
		f.Detail, f.Fix = c.Binary+" has no microvm machine", installQEMU
	default:
		f.OK = true
	}
	return f
}

func checkTun() Finding {
	f := Finding{Name: "tun device", Detail: "/dev/net/tun"}
	file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	switch {
	case os.IsNotExist(err):
		f.Detail, f.Fix = err.Error(), "modprobe tun"
	case os.IsPermission(err):
		f.Detail, f.Fix = err.Error(), "run porthole as root"
	case err != nil:
		f.Detail, f.Fix = err.Error(), "modprobe tun"
	default:
		_ = file.Close()
		f.OK = true
	}
	return f
}

// checkUser looks that nothing else runs as QEMU's user: a guest that broke out of QEMU
// can do to others what that user can.
func checkUser(c Config) Finding {
	f := Finding{Name: "qemu user", OK: true, Detail: fmt.Sprintf("uid %d, gid %d", c.UID, c.GID)}
	b, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return f // no such file where there are no such users
	}
	for line := range strings.Lines(string(b)) {
		p := strings.Split(strings.TrimSpace(line), ":")
		if len(p) < 7 || p[2] != strconv.FormatUint(uint64(c.UID), 10) {
			continue
		}
		f.Detail += " (" + p[0] + ")"
		if p[0] == "nobody" || c.UID < 100 || (c.UID >= 1000 && c.UID < 60000) {
			f.OK = false
			f.Detail += " is a user that others use"
			f.Fix = "useradd --system --no-create-home --shell /usr/sbin/nologin porthole-vm, and give its ids in the config"
		}
	}
	return f
}

func checkTSC(c Config) Finding {
	f := Finding{Name: "clock frequency", OK: true}
	khz, err := hostTSC()
	if err != nil {
		f.Detail = err.Error()
		if c.Accel == TCG {
			f.OK, f.Fix = false, "use kvm: without the frequency guests may hang at boot on a busy host"
		}
		return f
	}
	f.Detail = fmt.Sprintf("%d kHz", khz)
	return f
}
