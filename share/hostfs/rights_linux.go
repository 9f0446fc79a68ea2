package hostfs

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// rootRights tells whether the process may give files to any owner, with any mode, and
// use all of them.
func rootRights() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	for _, c := range []uint{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID} {
		if data[0].Effective&(1<<c) == 0 {
			return false
		}
	}
	// In a user namespace with few ids chown(2) fails for the others.
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(ids)), " ") == "0 0 4294967295"
}
