package hcsemu

import (
	"os/exec"
	"strconv"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
)

// createDisk makes a dynamic VHDX: path, size in bytes, size of a block.
func (s *Service) createDisk(path, size, block string) hcs.HRESULT {
	for _, n := range []string{size, block} {
		if _, err := strconv.ParseUint(n, 10, 63); err != nil {
			return hcs.InvalidArgument
		}
	}
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "vhdx", "-o", "subformat=dynamic,block_size="+block,
		s.config.Drives.Local(path), size).CombinedOutput()
	switch {
	case err == nil:
		return hcs.OK
	case strings.Contains(string(out), "No space left"):
		return hcs.DiskFull
	}
	s.log.Warn("make VHDX", "path", path, "error", err, "says", string(out))
	return hcs.Fail
}
