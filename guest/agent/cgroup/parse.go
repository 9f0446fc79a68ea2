package cgroup

import (
	"strconv"
	"strings"
	"time"

	"github.com/porthole-run/porthole/internal/usage"
)

// parseFlat reads lines of a name and a number, as the kernel's "flat keyed" files have
// them. Others are passed over. It returns nil when there is none.
func parseFlat(text string) map[string]uint64 {
	var out map[string]uint64
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			continue
		}
		if out == nil {
			out = map[string]uint64{}
		}
		out[name] = n
	}
	return out
}

// parsePressure reads a pressure file; nil when it has not both lines.
//
//	some avg10=0.00 avg60=0.00 avg300=0.00 total=0
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
func parsePressure(text string) *usage.Pressure {
	var out usage.Pressure
	seen := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		to := &out.Some
		switch f[0] {
		case "some":
		case "full":
			to = &out.Full
		default:
			continue
		}
		seen++
		for _, kv := range f[1:] {
			name, value, _ := strings.Cut(kv, "=")
			if name == "total" {
				n, _ := strconv.ParseUint(value, 10, 64)
				to.Total = micros(n)
				continue
			}
			x, _ := strconv.ParseFloat(value, 64)
			switch name {
			case "avg10":
				to.Avg10 = x
			case "avg60":
				to.Avg60 = x
			case "avg300":
				to.Avg300 = x
			}
		}
	}
	if seen != 2 {
		return nil
	}
	return &out
}

// parseIO reads the first limit devices of an io.stat file:
//
//	8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0
func parseIO(text string, limit int) []usage.Device {
	var out []usage.Device
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || len(out) == limit {
			continue
		}
		major, minor, _ := strings.Cut(f[0], ":")
		ma, err1 := strconv.ParseUint(major, 10, 32)
		mi, err2 := strconv.ParseUint(minor, 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		d := usage.Device{Major: uint32(ma), Minor: uint32(mi)}
		for _, kv := range f[1:] {
			name, value, _ := strings.Cut(kv, "=")
			n, _ := strconv.ParseUint(value, 10, 64)
			switch name {
			case "rbytes":
				d.ReadBytes = n
			case "wbytes":
				d.WriteBytes = n
			case "rios":
				d.Reads = n
			case "wios":
				d.Writes = n
			}
		}
		out = append(out, d)
	}
	return out
}

// micros is n microseconds; what no Duration holds is the longest one.
func micros(n uint64) time.Duration {
	const most = uint64(1<<63-1) / uint64(time.Microsecond)
	return time.Duration(min(n, most)) * time.Microsecond
}
