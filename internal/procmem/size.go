package procmem

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// sizeOf reads the line of a file of /proc that begins with a name, in bytes.
func sizeOf(text []byte, name string) (uint64, error) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok {
			continue
		}
		if f := strings.Fields(rest); len(f) == 2 && f[1] == "kB" {
			kib, err := strconv.ParseUint(f[0], 10, 53)
			return kib << 10, err
		}
		return 0, fmt.Errorf("%q tells no size in kB", lines.Text())
	}
	return 0, fmt.Errorf("no line %s", name)
}
