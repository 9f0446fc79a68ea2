package qemuvm

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// tscKHz reads the frequency of the host's time stamp counter from the text of
// /proc/cpuinfo. The kernel derives loops_per_jiffy from the calibrated counter and
// prints it as bogomips, twice the MHz with two decimals; "cpu MHz" is what the core
// runs at now, which is something else. TCG gives the guest the host's counter.
func tscKHz(cpuinfo io.Reader) (int, error) {
	s := bufio.NewScanner(cpuinfo)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		key, value, ok := strings.Cut(s.Text(), ":")
		if !ok || strings.TrimSpace(key) != "bogomips" {
			continue
		}
		b, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || b < 200 || b > 100_000 {
			return 0, fmt.Errorf("parse bogomips %q", strings.TrimSpace(value))
		}
		return int(math.Round(b / 2 * 1000)), nil
	}
	if err := s.Err(); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("no bogomips in /proc/cpuinfo")
}

// cpuModel is the name of the host's first CPU.
func cpuModel(cpuinfo io.Reader) string {
	s := bufio.NewScanner(cpuinfo)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
