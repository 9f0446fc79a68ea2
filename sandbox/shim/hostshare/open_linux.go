package hostshare

import (
	"os"
	"strings"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/hostfs"
)

// liveFolder opens a folder as it is, without a copy of the mounts below.
var liveFolder = sandbox.FolderSource{HostToContainer: true, Recursive: true}

func openFolder(path string, s shim.ShareSource) (share.Backend, error) {
	b, err := hostfs.Open(path, hostfs.Options{ReadOnly: s.ReadOnly, RecursiveReadOnly: s.ReadOnly && s.Recursive, HostToContainer: s.HostToContainer})
	if err != nil {
		return nil, err // not a nil *FS in an interface
	}
	return b, nil
}

// mountsBelow tells whether something is mounted below a folder. When that cannot be
// told, nothing is: then read-only goes for all.
func mountsBelow(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && hasMountBelow(string(table), dir)
}

// hasMountBelow looks in a table as /proc/self/mountinfo is one: its fifth field is where
// something is mounted (proc_pid_mountinfo(5)).
func hasMountBelow(table, dir string) bool {
	if dir != "/" {
		dir += "/"
	}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 {
			if at := unescape.Replace(f[4]); at != dir && strings.HasPrefix(at, dir) {
				return true
			}
		}
	}
	return false
}

// unescape undoes what the kernel does to paths there.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
