package simnode

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// slots is how many names there are for pods, and for the containers of each.
const slots = 4

// caller is one who calls.
type caller struct {
	*world
	rt runtimeapi.RuntimeServiceClient
	im runtimeapi.ImageServiceClient
	r  *rand.Rand
}

// call does what callers do until ctx ends.
func (w *world) call(ctx context.Context, r *rand.Rand) {
	c := &caller{world: w, r: r}
	c.rt, c.im = w.client()
	for ctx.Err() == nil {
		if at := w.model.tick(); w.isDown(at) {
			pause(ctx, 5*time.Millisecond) // rather than fail ten thousand times
		}
		opCtx, cancel := ctx, context.CancelFunc(func() {})
		if r.IntN(4) == 0 {
			opCtx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(25_000))*time.Microsecond)
		}
		switch p := r.IntN(100); {
		case p < 12:
			c.runPod(opCtx)
		case p < 26:
			c.create(opCtx)
		case p < 40:
			c.start(opCtx)
		case p < 46:
			c.stop(opCtx)
		case p < 54:
			c.remove(opCtx)
		case p < 59:
			c.stopPod(opCtx)
		case p < 64:
			c.removePod(opCtx)
		case p < 72:
			c.exec(opCtx)
		case p < 76:
			c.update(opCtx)
		case p < 79:
			c.images(opCtx)
		case p < 83:
			c.stats(ctx)
		case p < 85:
			c.reopen(opCtx)
		case p < 92:
			c.statuses(ctx)
		default:
			c.look(ctx, c.rt)
		}
		cancel()
	}
}

func (w *world) isDown(at moment) bool {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	return w.down(at-1, at)
}

func (c *caller) runPod(ctx context.Context) {
	slot := name(c.r.IntN(slots))
	c.model.mu.Lock()
	c.making[slot]++
	from := c.next()
	c.model.mu.Unlock()
	r, err := c.rt.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: podConfig(slot), RuntimeHandler: handlerOf(slot)})
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	to := c.next()
	if err == nil {
		for id, x := range c.things {
			if x.name == slot && id != r.PodSandboxId && x.born < from && x.mayGo > to {
				c.wrong("%s was made while %s is there", slot, x.what)
			}
		}
		c.add(r.PodSandboxId, slot, nil, from, from)
	}
	may := []codes.Code{codes.AlreadyExists, codes.DeadlineExceeded}
	for _, at := range c.killedVMs {
		if at > from {
			may = append(may, codes.Unavailable)
		}
	}
	c.allow(ctx, "RunPodSandbox", nil, err, from, to, may...)
	if err == nil || !c.lost(ctx, err, from, to) {
		c.settle(slot, err, to)
	}
}

// lost tells whether a thing may be there, or still come, though its maker got an error:
// the answer did not reach it, or what was done could not be undone.
func (c *caller) lost(ctx context.Context, err error, from, to moment) bool {
	return gaveUp(ctx) || c.excused(ctx, err, from, to) || status.Code(err) == codes.DeadlineExceeded ||
		strings.Contains(err.Error(), "could not be undone")
}

func (c *caller) create(ctx context.Context) {
	podID, pod := c.pick(c.r, func(x *thing) bool { return x.owner == nil })
	if pod == nil {
		return
	}
	slot := fmt.Sprint("c", c.r.IntN(slots))
	key := pod.name + "/" + slot
	repository := App
	if c.r.IntN(4) == 0 {
		repository = Job
	}
	c.model.mu.Lock()
	c.making[key]++
	from := c.next()
	c.model.mu.Unlock()
	r, err := c.rt.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: podID, Config: &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: slot}, Image: &runtimeapi.ImageSpec{Image: c.node.Ref(repository)},
		LogPath: slot + ".log",
	}})
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	to := c.next()
	if err == nil {
		c.add(r.ContainerId, slot, pod, from, from)
	}
	may := []codes.Code{codes.AlreadyExists, codes.DeadlineExceeded, codes.NotFound} // of images, which are removed and pulled
	if mayEnd(pod) < to {
		may = append(may, codes.FailedPrecondition)
	}
	if pod.killed < to {
		may = append(may, codes.Unavailable)
	}
	c.allow(ctx, "CreateContainer", pod, err, from, to, may...)
	if err == nil || !c.lost(ctx, err, from, to) {
		c.settle(key, err, to)
	}
}

// on makes a call on a thing, marks from when it may and must have an effect, and checks
// its answer. Each of asked and answered may be nil.
func (c *caller) on(ctx context.Context, call string, x *thing, asked, answered func(*thing, moment), do func() error, may func(from, to moment) []codes.Code) {
	c.model.mu.Lock()
	from := c.next()
	if asked != nil {
		asked(x, from)
	}
	c.model.mu.Unlock()
	err := do()
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	to := c.next()
	if err == nil && answered != nil && !c.down(from, to) {
		answered(x, to)
	}
	var allowed []codes.Code
	if may != nil {
		allowed = may(from, to)
	}
	if asked != nil {
		// Where pods share a VM a call waits for another one's, which may hang.
		allowed = append(allowed, codes.DeadlineExceeded)
	}
	c.allow(ctx, call, x, err, from, to, allowed...)
}

func (c *caller) container() (string, *thing) {
	return c.pick(c.r, func(x *thing) bool { return x.owner != nil })
}

// whileThere are the codes of calls on a container that has to be there and run.
func whileThere(x *thing) func(from, to moment) []codes.Code {
	return func(_, to moment) (out []codes.Code) {
		if x.may(mayGo) < to {
			out = append(out, codes.NotFound)
		}
		if x.owner.may(mayEnd) < to {
			out = append(out, codes.Unavailable) // its VM goes, or went
		}
		return append(out, codes.FailedPrecondition)
	}
}

func (c *caller) start(ctx context.Context) {
	id, x := c.container()
	if x == nil {
		return
	}
	c.on(ctx, "StartContainer", x,
		func(x *thing, at moment) { mark(&x.mayRun, at); mark(&x.mayEnd, at) }, // a start that fails ends it
		func(x *thing, at moment) { mark(&x.runs, at) },
		func() error {
			_, err := c.rt.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
			return err
		}, whileThere(x))
}

func (c *caller) stop(ctx context.Context) {
	id, x := c.container()
	if x == nil {
		return
	}
	c.on(ctx, "StopContainer", x,
		func(x *thing, at moment) { mark(&x.mayEnd, at) },
		func(x *thing, at moment) { mark(&x.ended, at) },
		func() error {
			_, err := c.rt.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: int64(c.r.IntN(2))})
			return err
		}, nil)
}

func (c *caller) remove(ctx context.Context) {
	id, x := c.container()
	if x == nil {
		return
	}
	c.on(ctx, "RemoveContainer", x,
		func(x *thing, at moment) { mark(&x.mayGo, at) },
		func(x *thing, at moment) { mark(&x.gone, at) },
		func() error {
			_, err := c.rt.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
			return err
		}, nil)
}

func (c *caller) pod() (string, *thing) {
	return c.pick(c.r, func(x *thing) bool { return x.owner == nil })
}

func (c *caller) stopPod(ctx context.Context) {
	id, x := c.pod()
	if x == nil {
		return
	}
	c.on(ctx, "StopPodSandbox", x,
		func(x *thing, at moment) { mark(&x.mayEnd, at) },
		func(x *thing, at moment) { mark(&x.ended, at) },
		func() error {
			_, err := c.rt.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
			return err
		}, nil)
}

func (c *caller) removePod(ctx context.Context) {
	id, x := c.pod()
	if x == nil {
		return
	}
	c.on(ctx, "RemovePodSandbox", x,
		func(x *thing, at moment) { mark(&x.mayGo, at) },
		func(x *thing, at moment) { mark(&x.gone, at) },
		func() error {
			_, err := c.rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
			return err
		}, nil)
}

func (c *caller) exec(ctx context.Context) {
	id, x := c.container()
	if x == nil {
		return
	}
	word := fmt.Sprint("word", c.r.IntN(1000))
	c.on(ctx, "ExecSync", x, nil, nil, func() error {
		r, err := c.rt.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"echo", word}, Timeout: 60})
		if err == nil && (string(r.Stdout) != word+"\n" || r.ExitCode != 0) {
			c.t.Errorf("ExecSync of echo %s = %v", word, r)
		}
		return err
	}, whileThere(x))
}

func (c *caller) update(ctx context.Context) {
	id, x := c.container()
	if x == nil {
		return
	}
	c.on(ctx, "UpdateContainerResources", x, nil, nil, func() error {
		_, err := c.rt.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id,
			Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: int64(c.r.IntN(100)+10) << 20}})
		return err
	}, whileThere(x))
}

func (c *caller) reopen(ctx context.Context) {
	id, x := c.container()
	if x == nil {
		return
	}
	c.on(ctx, "ReopenContainerLog", x, nil, nil, func() error {
		_, err := c.rt.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
		return err
	}, whileThere(x))
}

func (c *caller) images(ctx context.Context) {
	spec := &runtimeapi.ImageSpec{Image: c.node.Ref([]string{App, Job}[c.r.IntN(2)])}
	from := c.tick()
	var call string
	var err error
	var may []codes.Code
	if c.r.IntN(3) == 0 {
		call = "RemoveImage"
		_, err = c.im.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: spec})
	} else {
		call = "PullImage"
		may = []codes.Code{codes.Unavailable} // the registry is cut off
		_, err = c.im.PullImage(ctx, &runtimeapi.PullImageRequest{Image: spec})
	}
	c.model.mu.Lock()
	defer c.model.mu.Unlock()
	c.allow(ctx, call, nil, err, from, c.next(), may...)
}

func (c *caller) stats(ctx context.Context) {
	from := c.tick()
	_, err := c.rt.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	_, err2 := c.rt.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	c.model.mu.Lock()
	to := c.next()
	c.allow(ctx, "ListPodSandboxStats", nil, err, from, to)
	c.allow(ctx, "ListContainerStats", nil, err2, from, to)
	c.model.mu.Unlock()
	if id, x := c.container(); x != nil {
		c.on(ctx, "ContainerStats", x, nil, nil, func() error {
			_, err := c.rt.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: id})
			return err
		}, func(from, to moment) []codes.Code { return append(whileThere(x)(from, to), codes.DeadlineExceeded) })
	}
}

// statuses asks for single things, which are known or gone.
func (c *caller) statuses(ctx context.Context) {
	if id, x := c.pod(); x != nil {
		var r *runtimeapi.PodSandboxStatusResponse
		from := c.tick()
		r, err := c.rt.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: c.r.IntN(4) == 0})
		c.model.mu.Lock()
		to := c.next()
		c.allow(ctx, "PodSandboxStatus", x, err, from, to, codes.NotFound)
		if c.down(from, to) {
			// Who knows what it knew.
		} else if err == nil {
			c.seesPod(id, r.Status.Metadata.Name, r.Status.State, from, to)
		} else if !c.excused(ctx, err, from, to) {
			c.sees(x, false, from, to)
		}
		c.model.mu.Unlock()
	}
	if id, x := c.container(); x != nil {
		from := c.tick()
		r, err := c.rt.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
		c.model.mu.Lock()
		to := c.next()
		c.allow(ctx, "ContainerStatus", x, err, from, to, codes.NotFound)
		if c.down(from, to) {
			// Who knows what it knew.
		} else if err == nil {
			c.seesContainer(id, r.Status.Metadata.Name, x.owner, r.Status.State, from, to)
		} else if !c.excused(ctx, err, from, to) {
			c.sees(x, false, from, to)
		}
		c.model.mu.Unlock()
	}
}

// look lists all and checks it against what is known.
func (w *world) look(ctx context.Context, rt runtimeapi.RuntimeServiceClient) {
	from := w.tick()
	pods, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	w.model.mu.Lock()
	to := w.next()
	w.allow(ctx, "ListPodSandbox", nil, err, from, to)
	if err == nil && !w.down(from, to) {
		there := map[string]bool{}
		for _, p := range pods.Items {
			there[p.Id] = true
			w.seesPod(p.Id, p.Metadata.Name, p.State, from, to)
		}
		w.missing(there, false, from, to)
	}
	w.model.mu.Unlock()
	from = w.tick()
	containers, err := rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	to = w.next()
	w.allow(ctx, "ListContainers", nil, err, from, to)
	if err != nil || w.down(from, to) {
		return
	}
	there := map[string]bool{}
	for _, c := range containers.Containers {
		there[c.Id] = true
		if pod := w.things[c.PodSandboxId]; pod != nil { // else one that came after the list of pods
			w.seesContainer(c.Id, c.Metadata.Name, pod, c.State, from, to)
		}
	}
	w.missing(there, true, from, to)
}

// missing checks what is not in a list.
func (w *world) missing(there map[string]bool, containers bool, from, to moment) {
	for id, x := range w.things {
		if (x.owner != nil) == containers && !there[id] && x.born < from {
			w.sees(x, false, from, to)
		}
	}
}

// handlerOf gives half of the pods VMs of their own; the others share one.
func handlerOf(slot string) string {
	if slot >= name(slots/2) {
		return sandboxtest.SharedHandler
	}
	return ""
}

func podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "stress", Uid: "uid-" + name},
		Hostname:     name,
		LogDirectory: "/var/log/pods/stress_" + name,
		Labels:       map[string]string{"app": name},
	}
}
