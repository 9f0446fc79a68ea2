package image_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/internal/testneed"
)

// tscKHz returns the host's time stamp frequency as the kernel of an x86 host
// states it: bogomips are twice the megahertz.
func tscKHz(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		testneed.Skip(t, "an x86 host: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == "bogomips" {
			mips, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(mips / 2 * 1000)
		}
	}
	testneed.Skip(t, "an x86 host: /proc/cpuinfo states no bogomips")
	return 0
}
