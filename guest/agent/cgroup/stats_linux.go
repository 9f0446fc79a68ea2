package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/porthole-run/porthole/internal/usage"
)

// maxDevices is how many block devices of a group are told.
const maxDevices = 256

// Stats reads what a group and those below it use. What the kernel does not count is
// left out. A group that is gone is an error that is fs.ErrNotExist.
func (c *FS) Stats(group string) (usage.Group, error) {
	r := reader{dir: c.path(group)}
	out := usage.Group{CPU: r.cpu(), At: time.Now()}
	out.Memory = r.memory()
	out.IO = r.io()
	out.Tasks = r.tasks()
	out.HugePages = r.hugePages()
	if _, err := os.Stat(r.dir); err != nil {
		return usage.Group{}, fmt.Errorf("read cgroup: %w", err)
	}
	return out, errors.Join(r.errs...)
}

// reader reads the files of a group. Those that are not there, or that the kernel does
// not fill as it has the accounting off, are empty.
type reader struct {
	dir  string
	errs []error
}

func (r *reader) read(file string) string {
	b, err := os.ReadFile(filepath.Join(r.dir, file))
	switch {
	case err == nil:
		return string(b)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EOPNOTSUPP):
	default:
		r.errs = append(r.errs, fmt.Errorf("read cgroup: %w", err))
	}
	return ""
}

// number is a file's one number, nil for "max" and for none.
func (r *reader) number(file string) *uint64 {
	n, err := strconv.ParseUint(strings.TrimSpace(r.read(file)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

func (r *reader) pressure(file string) *usage.Pressure { return parsePressure(r.read(file)) }

func (r *reader) cpu() *usage.CPU {
	s := parseFlat(r.read("cpu.stat"))
	if s == nil {
		return nil
	}
	return &usage.CPU{
		Usage: micros(s["usage_usec"]), User: micros(s["user_usec"]), System: micros(s["system_usec"]),
		Periods: s["nr_periods"], ThrottledPeriods: s["nr_throttled"], Throttled: micros(s["throttled_usec"]),
		Pressure: r.pressure("cpu.pressure"),
	}
}

func (r *reader) memory() *usage.Memory {
	current := r.number("memory.current")
	if current == nil {
		return nil
	}
	s, events := parseFlat(r.read("memory.stat")), parseFlat(r.read("memory.events"))
	return &usage.Memory{
		Usage: *current, Limit: r.number("memory.max"), Peak: r.number("memory.peak"),
		Anon: s["anon"], File: s["file"], FileMapped: s["file_mapped"], InactiveFile: s["inactive_file"], Kernel: s["kernel"],
		PageFaults: s["pgfault"], MajorPageFaults: s["pgmajfault"],
		LimitHits: events["max"], OOMKills: events["oom_kill"],
		Swap: r.number("memory.swap.current"), SwapLimit: r.number("memory.swap.max"),
		Pressure: r.pressure("memory.pressure"),
	}
}

func (r *reader) io() *usage.IO {
	out := usage.IO{Devices: parseIO(r.read("io.stat"), maxDevices), Pressure: r.pressure("io.pressure")}
	for i, d := range out.Devices {
		link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", d.Major, d.Minor))
		if err == nil {
			out.Devices[i].Name = filepath.Base(link)
		}
	}
	return &out
}

func (r *reader) tasks() *usage.Tasks {
	threads := r.number("pids.current")
	if threads == nil {
		return nil
	}
	out := usage.Tasks{Threads: *threads, ThreadsLimit: r.number("pids.max")}
	eachProcess(r.dir, func(int) bool { out.Processes++; return true })
	return &out
}

func (r *reader) hugePages() []usage.HugePages {
	files, _ := filepath.Glob(filepath.Join(r.dir, "hugetlb.*.current"))
	var out []usage.HugePages
	for _, f := range files {
		name := filepath.Base(f)
		if strings.Contains(name, ".rsvd.") {
			continue
		}
		if n := r.number(name); n != nil {
			size := strings.TrimSuffix(strings.TrimPrefix(name, "hugetlb."), ".current")
			out = append(out, usage.HugePages{Size: size, Usage: *n})
		}
	}
	return out
}

// OpenFiles counts what the processes of a group and of those below it have open. It
// reports false when there are more than limit, and gives up then.
func (c *FS) OpenFiles(group string, limit int) (o usage.OpenFiles, ok bool) {
	left := limit
	ok = eachProcess(c.path(group), func(pid int) bool {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		d, err := os.Open(dir)
		if err != nil {
			return true // it has ended
		}
		defer d.Close()
		names, _ := d.Readdirnames(left + 1)
		if left -= len(names); left < 0 {
			return false
		}
		for _, name := range names {
			o.Files++
			if to, err := os.Readlink(filepath.Join(dir, name)); err == nil && strings.HasPrefix(to, "socket:") {
				o.Sockets++
			}
		}
		return true
	})
	return o, ok
}

// eachProcess calls f for each process of a group and of those below it until f reports
// false, and reports whether it never did. What is gone is passed over.
func eachProcess(dir string, f func(pid int) bool) bool {
	ok := true
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if err != nil {
			return nil
		}
		for s := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(s); err == nil && !f(pid) {
				ok = false
				return filepath.SkipAll
			}
		}
		return nil
	})
	return ok
}
