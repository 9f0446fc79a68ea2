package qemuvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/internal/tame"
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
	return append(found, checkTun(), checkUsers(c, "/etc/passwd", "/etc/subuid"), checkTSC(c))
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
	case !readable(st, c.UIDs.Base, c.GID):
		// The death signal and /proc/self need a program that its user may read.
		f.Detail, f.Fix = fmt.Sprintf("%s cannot be read by uid %d", c.Binary, c.UIDs.Base), "chmod a+rx "+c.Binary
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

// checkUsers looks that no user of QEMU is anybody else's: a guest that broke out of QEMU
// can do to others what that user can.
func checkUsers(c Config, passwd, subuid string) Finding {
	u := c.UIDs
	f := Finding{Name: "qemu users", Detail: fmt.Sprintf("uids %d to %d, gid %d", u.Base, u.Base+(u.Count-1), c.GID)}
	taken, err := usersIn(u, passwd, subuid)
	switch {
	case err != nil:
		f.Detail = err.Error()
	case taken != "":
		f.Detail += ": " + taken
	default:
		f.OK = true
		return f
	}
	f.Fix = "set vm.uid_base to the first of a range that no user has"
	return f
}

// usersIn tells of a user in the range, or of one who may use it for containers of their
// own; empty: there is none.
func usersIn(u UIDs, passwd, subuid string) (string, error) {
	overlaps := func(start, count uint64) bool {
		return start < uint64(u.Base)+uint64(u.Count) && uint64(u.Base) < start+count
	}
	for _, file := range []struct {
		path         string
		start, count int // fields; count 0: it is 1
		what         string
	}{{passwd, 2, 0, "is user"}, {subuid, 1, 2, "belongs to the subordinate users of"}} {
		b, err := os.ReadFile(file.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no such users
		}
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(b)) {
			p := strings.Split(strings.TrimSpace(line), ":")
			if len(p) <= max(file.start, file.count) {
				continue
			}
			start, err := strconv.ParseUint(p[file.start], 10, 32)
			count := uint64(1)
			if file.count > 0 && err == nil {
				count, err = strconv.ParseUint(p[file.count], 10, 32)
			}
			if err == nil && overlaps(start, count) {
				return fmt.Sprintf("%d %s %s", max(start, uint64(u.Base)), file.what, tame.Line(p[0], 40)), nil
			}
		}
	}
	return "", nil
}

func checkTSC(c Config) Finding {
	f := Finding{Name: "clock frequency", OK: true}
	khz, err := HostTSC()
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
