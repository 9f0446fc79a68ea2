package procmem

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// parseRollup reads the Pss line of a smaps_rollup file.
func parseRollup(text []byte) (uint64, error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "Pss:")
		if !ok {
			continue
		}
		if f := strings.Fields(rest); len(f) == 2 && f[1] == "kB" {
			kib, err := strconv.ParseUint(f[0], 10, 53)
			return kib << 10, err
		}
		return 0, fmt.Errorf("%q tells no size in kB", lines.Text())
	}
	return 0, errors.New("no line Pss")
}
