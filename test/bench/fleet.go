package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/test/simnode"
)

// fleetSizes are the numbers of pods that calls are measured with, each with containersEach.
var fleetSizes = []int{100, 250, 500}

const (
	containersEach = 2
	// fleetServe is the argument that makes this program the daemon on a simulated node.
	fleetServe = "serve-simulated-node"
	// What the daemon's process is asked for.
	askCPU, askMemory = "cpu", "memory"
)

// serveFleet is the daemon's process: it prints its socket, and for each line that it
// reads its CPU seconds so far, or how much memory it holds, until there are no more.
func serveFleet(ctx context.Context) (err error) {
	dir := "/dev/shm" // records are synced, which is not what is measured here
	if _, err := os.Stat(dir); err != nil {
		dir = ""
	}
	n, err := simnode.Start(ctx, simnode.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	n.Host.ForgetCalls() // a journal of the simulated host's is not the daemon's memory
	stop, err := serveFloor(floorSocket(n.Socket))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	fmt.Println(n.Socket, n.Ref(simnode.App))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == askCPU {
			fmt.Println(cpuSeconds())
			continue
		}
		debug.FreeOSMemory()
		debug.FreeOSMemory() // buffers that calls leave for the next ones go with the second collection
		var m goruntime.MemStats
		goruntime.ReadMemStats(&m)
		fmt.Println(m.HeapAlloc+m.StackInuse, rss())
	}
	return nil
}

// rss is this process's resident memory in bytes.
func rss() uint64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	kib, _ := strconv.ParseUint(strings.TrimSuffix(field(string(b), "VmRSS"), " kB"), 10, 64)
	return kib << 10
}

// fleet is a daemon with many pods.
type fleet struct {
	ask  func(what string, answer ...any) error
	conn grpc.ClientConnInterface
	rt   runtimeapi.RuntimeServiceClient
	im   runtimeapi.ImageServiceClient

	socket, ref string

	pods, containers []string
	answer           int // bytes of the last answer that was not decoded
}

// startFleet starts the daemon in a process of its own.
func startFleet(ctx context.Context, u *undo) (*fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, fleetServe)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	u.add(func() error { return errors.Join(in.Close(), cmd.Wait()) })
	lines := bufio.NewScanner(out)
	f := &fleet{}
	lines.Scan()
	if _, err := fmt.Sscan(lines.Text(), &f.socket, &f.ref); err != nil {
		return nil, fmt.Errorf("start simulated node: %w", err)
	}
	f.ask = func(what string, answer ...any) error {
		if _, err := fmt.Fprintln(in, what); err != nil {
			return err
		}
		lines.Scan()
		_, err := fmt.Sscan(lines.Text(), answer...)
		return err
	}
	var conn *grpc.ClientConn
	if conn, f.rt, f.im, err = simnode.Dial(f.socket); err != nil {
		return nil, err
	}
	f.conn = conn
	u.add(conn.Close)
	_, err = f.im.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: f.ref}})
	return f, err
}

// grow runs pods with running containers until there are so many.
func (f *fleet) grow(ctx context.Context, to int) error {
	first := len(f.pods)
	pods := make([][]string, to-first) // a pod's id, then its containers'
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range pods {
		g.Go(func() (err error) {
			pods[i], err = f.run(ctx, first+i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, ids := range pods {
		f.pods = append(f.pods, ids[0])
		f.containers = append(f.containers, ids[1:]...)
	}
	return nil
}

// run runs a pod that carries what the kubelet gives one of a Deployment.
func (f *fleet) run(ctx context.Context, i int) ([]string, error) {
	name := fmt.Sprintf("storefront-backend-7d9c6b5f4-%05d", i)
	uid := fmt.Sprintf("6f1a9c1e-7c3b-4f0a-9d7e-%012d", i)
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "production", Uid: uid},
		Hostname:     name,
		LogDirectory: "/var/log/pods/production_" + name + "_" + uid,
		Labels: map[string]string{
			"app.kubernetes.io/name": "storefront", "app.kubernetes.io/component": "backend", "pod-template-hash": "7d9c6b5f4",
			"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "production", "io.kubernetes.pod.uid": uid,
		},
		Annotations: map[string]string{
			"kubernetes.io/config.seen": "2026-11-27T01:00:00.000000000Z", "kubernetes.io/config.source": "api",
			"prometheus.io/scrape": "true", "prometheus.io/port": "9090",
		},
		Linux: &runtimeapi.LinuxPodSandboxConfig{Resources: &runtimeapi.LinuxContainerResources{CpuShares: 512, MemoryLimitInBytes: 256 << 20}},
	}
	r, err := f.rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, err
	}
	ids := []string{r.PodSandboxId}
	for j := range containersEach {
		c := &runtimeapi.ContainerConfig{
			Metadata: &runtimeapi.ContainerMetadata{Name: fmt.Sprint("main-", j)}, Image: &runtimeapi.ImageSpec{Image: f.ref},
			LogPath: fmt.Sprintf("main-%d/0.log", j),
			Labels: map[string]string{
				"io.kubernetes.container.name": fmt.Sprint("main-", j), "io.kubernetes.pod.name": name,
				"io.kubernetes.pod.namespace": "production", "io.kubernetes.pod.uid": uid,
			},
			Annotations: map[string]string{
				"io.kubernetes.container.hash": "8a7c1d2e", "io.kubernetes.container.restartCount": "0",
				"io.kubernetes.container.terminationMessagePath": "/dev/termination-log", "io.kubernetes.container.terminationMessagePolicy": "File",
				"io.kubernetes.pod.terminationGracePeriod": "30",
			},
		}
		for k := range 12 {
			c.Envs = append(c.Envs, &runtimeapi.KeyValue{Key: fmt.Sprintf("SERVICE_%d_PORT_8080_TCP_ADDR", k), Value: []byte("10.96.0.17")})
		}
		r, err := f.rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: ids[0], Config: c, SandboxConfig: config})
		if err != nil {
			return nil, err
		}
		if _, err := f.rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
			return nil, err
		}
		ids = append(ids, r.ContainerId)
	}
	return ids, nil
}

// measureFleet measures the daemon with many pods.
func measureFleet(ctx context.Context, o options, u *undo) (*fleetReport, error) {
	load := loadAverage()
	f, err := startFleet(ctx, u)
	if err != nil {
		return nil, err
	}
	r := &fleetReport{calls: o.calls, took: map[string]map[int]samples{}, decoded: map[string]samples{}, floor: map[string]samples{}, bytes: map[string]int{}, cpu: map[string]float64{}}
	var heap0, rss0 float64
	if err := f.ask(askMemory, &heap0, &rss0); err != nil {
		return nil, err
	}
	for _, size := range fleetSizes {
		if err := f.grow(ctx, size); err != nil {
			return nil, err
		}
		var heap, rss float64
		if err := f.ask(askMemory, &heap, &rss); err != nil {
			return nil, err
		}
		r.heap = append(r.heap, (heap-heap0)/1024/float64(size))
		r.rss = append(r.rss, (rss-rss0)/1024/float64(size))
		decoded := f.calls(true)
		for i, c := range f.calls(false) {
			if r.took[c.name] == nil {
				r.names = append(r.names, c.name)
				r.took[c.name] = map[int]samples{}
			}
			// In turn: this one also looks whether the answers are whole.
			if r.decoded[c.name], _, err = f.time(ctx, decoded[i], o.calls); err != nil {
				return nil, fmt.Errorf("%s with %d pods: %w", c.name, size, err)
			}
			if r.took[c.name][size], r.cpu[c.name], err = f.time(ctx, c, o.calls); err != nil {
				return nil, fmt.Errorf("%s with %d pods: %w", c.name, size, err)
			}
			r.bytes[c.name] = f.answer
		}
	}
	if r.asked, err = f.asked(ctx); err != nil {
		return nil, err
	}
	for _, name := range r.names {
		if r.floor[name], err = f.floor(ctx, r.bytes[name], o.calls); err != nil {
			return nil, fmt.Errorf("floor of %s: %w", name, err)
		}
	}
	r.notes, err = hostNotes(ctx, o, load)
	return r, err
}

// askedCalls is how many calls asked makes, a second each.
const askedCalls = 20

// asked times ListPodSandboxStats when all VMs are asked, as lists within a second of each
// other are of the same figures.
func (f *fleet) asked(ctx context.Context) (all samples, err error) {
	i := slices.IndexFunc(f.calls(false), func(c fleetCall) bool { return c.name == podStatsCall })
	c := f.calls(false)[i]
	for range askedCalls {
		if err := pause(ctx, time.Second); err != nil {
			return nil, err
		}
		took, _, err := f.time(ctx, c, 1)
		if err != nil {
			return nil, err
		}
		all = append(all, took...)
	}
	return all, nil
}

// time makes a call n times. It returns how long each took, in ms, and the daemon's CPU
// time for one.
func (f *fleet) time(ctx context.Context, c fleetCall, n int) (took samples, cpu float64, err error) {
	var before, after float64
	if err := f.ask(askCPU, &before); err != nil {
		return nil, 0, err
	}
	for i := range n {
		begin := time.Now()
		if err := c.call(ctx, i); err != nil {
			return nil, 0, err
		}
		took = append(took, time.Since(begin).Seconds()*1000)
	}
	err = f.ask(askCPU, &after)
	return took, (after - before) * 1000 / float64(n), err
}

// clockTick is the unit of CPU times in /proc, which is the same on all that Go runs on.
const clockTick = 0.01

// cpuSeconds is this process's CPU time so far.
func cpuSeconds() float64 {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	// Behind the name, which may hold anything, user and system time are the 12th and 13th.
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) * clockTick
}
