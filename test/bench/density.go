package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/internal/procmem"
	"github.com/porthole-run/porthole/test/harness"
)

const (
	// ends is how many pods are first, and last, where both are compared.
	ends = 10
	// idleTime is how long the CPU time of idle pods is counted.
	idleTime = time.Minute
)

// dense is a run of many pods on one server, with no peer.
type dense struct {
	options
	server *harness.Server
	rt     *runtime
	image  string
	pods   []densePod
	report densityReport
}

type densePod struct {
	id     string
	config *cri.PodSandboxConfig
}

// measureDensity starts pods until they hold the budget or are as many as allowed, reads
// what they hold and use while idle, then the same with a container in each.
func measureDensity(ctx context.Context, o options, u *undo) (*densityReport, error) {
	d := &dense{options: o}
	load := loadAverage()
	dir, err := isolate(ctx, u)
	if err != nil {
		return nil, err
	}
	say("building the images")
	images, err := serveSample(ctx, o, u)
	if err != nil {
		return nil, err
	}
	d.image = images.sample
	if d.report.budget, err = o.memoryBudget(); err != nil {
		return nil, err
	}
	if d.server, err = harness.New(harness.Config{Dir: dir, Bin: o.bin, Guest: o.guest, CNIConf: deploy.CNIConf}); err != nil {
		return nil, err
	}
	if err := d.server.Start(ctx); err != nil {
		return nil, err
	}
	u.add(d.server.Stop)
	if err := d.server.AwaitTemplates(ctx); err != nil {
		return nil, err
	}
	d.rt = &runtime{name: portholeName, RuntimeServiceClient: d.server.RuntimeServiceClient, images: d.server.Images, logs: filepath.Join(dir, "logs")}
	for _, stage := range []func(context.Context) error{d.warm, d.fill, d.idle, d.contain} {
		if err := stage(ctx); ctx.Err() != nil {
			return nil, errors.New("interrupted: what the run made is taken down")
		} else if err != nil {
			return nil, fmt.Errorf("%w\nPorthole's log ends with\n%s", err, d.server.LogTail())
		}
	}
	if d.report.notes, err = machineNotes(ctx, o, d.server, load); err != nil {
		return nil, err
	}
	say("taking %d pods down", len(d.pods))
	return &d.report, nil
}

// memoryBudget is what the pods may hold in all, in MiB.
func (o options) memoryBudget() (float64, error) {
	if o.budget > 0 {
		return o.budget * 1024, nil
	}
	free, err := procmem.Available()
	return float64(free) / 2 / (1 << 20), err
}

// warm runs one pod, and removes it: the first warms caches and is not counted.
func (d *dense) warm(ctx context.Context) error {
	if _, err := d.rt.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: d.image}}); err != nil {
		return fmt.Errorf("PullImage: %w", err)
	}
	var t table
	return d.rt.oneContainer(ctx, &t, "warm", d.image, "warm", func() error { return nil })
}

// fill starts pods until the budget is used: what all hold is read before each, and the
// next is thought to hold as much as the last.
func (d *dense) fill(ctx context.Context) error {
	for i := range d.maxPods {
		held, _, err := d.held()
		if err != nil {
			return err
		}
		if n := float64(len(d.pods)); n > 0 && held+held/n > d.report.budget {
			break
		}
		say("pod %d: those before hold %.0f MiB of %.0f", i+1, held, d.report.budget)
		config, err := d.rt.podConfig(fmt.Sprintf("dense-%d", i))
		if err != nil {
			return err
		}
		begin := time.Now()
		id, err := d.rt.runPod(ctx, config)
		if err != nil {
			return err
		}
		d.report.starts = append(d.report.starts, float64(time.Since(begin))/1e6)
		d.pods = append(d.pods, densePod{id, config})
	}
	return nil
}

// idle waits until all is quiet, then reads memory, and CPU time over a while.
func (d *dense) idle(ctx context.Context) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	var err error
	if _, d.report.empty, err = d.held(); err != nil {
		return err
	}
	say("counting the CPU time of %d idle pods for %s", len(d.pods), idleTime)
	before, err := d.used()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := pause(ctx, idleTime); err != nil {
		return err
	}
	after, err := d.used()
	if err != nil {
		return err
	}
	took := time.Since(begin).Seconds()
	d.report.idleVM = (after.vm - before.vm) / took / float64(len(d.pods)) * 100
	d.report.idleShim = (after.shim - before.shim) / took / float64(len(d.pods)) * 100
	d.report.idleServer = (after.server - before.server) / took * 100
	return nil
}

// contain starts a container in each pod and reads the memory again.
func (d *dense) contain(ctx context.Context) error {
	for i, p := range d.pods {
		say("container %d", i+1)
		begin := time.Now()
		if _, err := d.rt.startContainer(ctx, p.id, p.config, d.image); err != nil {
			return err
		}
		d.report.containers = append(d.report.containers, float64(time.Since(begin))/1e6)
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	var err error
	_, d.report.busy, err = d.held()
	return err
}

// podMemory is what each pod holds, in MiB.
type podMemory struct{ shim, vm, all samples }

// held is what all pods hold, and each.
func (d *dense) held() (float64, podMemory, error) {
	all, err := harness.Processes()
	if err != nil {
		return 0, podMemory{}, err
	}
	var m podMemory
	total := 0.0
	for _, s := range harness.Shims(all, d.server.Dir) {
		shim, err1 := pss(s)
		vm, err2 := pss(harness.Children(all, s.PID)...)
		if err := errors.Join(err1, err2); err != nil {
			return 0, m, err
		}
		m.shim, m.vm, m.all = append(m.shim, shim), append(m.vm, vm), append(m.all, shim+vm)
		total += shim + vm
	}
	if len(m.all) != len(d.pods) {
		return 0, m, fmt.Errorf("%d shims run, want %d", len(m.all), len(d.pods))
	}
	return total, m, nil
}

// cpuUse is CPU time in seconds: of all VMs, of all shims, and of the daemon.
type cpuUse struct{ vm, shim, server float64 }

func (d *dense) used() (cpuUse, error) {
	all, err := harness.Processes()
	if err != nil {
		return cpuUse{}, err
	}
	var u cpuUse
	add := func(to *float64, pid int) error {
		s, err := cpuOf(pid)
		*to += s
		return err
	}
	errs := []error{add(&u.server, d.server.PID())}
	for _, s := range harness.Shims(all, d.server.Dir) {
		errs = append(errs, add(&u.shim, s.PID))
		for _, c := range harness.Children(all, s.PID) {
			errs = append(errs, add(&u.vm, c.PID))
		}
	}
	return u, errors.Join(errs...)
}

// clockTicks is USER_HZ, in which stat files count (proc_pid_stat(5)); it is 100 on every
// Linux that Go runs on.
const clockTicks = 100

// cpuOf is the CPU time of a process until now, in seconds.
func cpuOf(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseCPU(string(text))
}

// parseCPU reads user and system time from a stat file. The name in it may hold blanks.
func parseCPU(stat string) (float64, error) {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0, fmt.Errorf("%q is no process state", stat)
	}
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	return float64(user+system) / clockTicks, errors.Join(err1, err2)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
