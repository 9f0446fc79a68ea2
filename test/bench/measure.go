package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
)

// settle is how long pods idle before their memory is read; guests give free pages back
// meanwhile.
const settle = 10 * time.Second

// stages are the parts of a run by their names for -only, in the order of measure.
var stages = []string{"pods", "pool", "layers", "pulls", "memory", "unpack", "boots"}

// wants tells whether a run has that stage.
func (o options) wants(stage string) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), stage)
}

// Rows of containers whose images differ in their layers.
const (
	rowFlat  = "Create + StartContainer, 1 layer"
	rowDeep  = "Create + StartContainer, 20 layers"
	rowThick = "Create + StartContainer, 20 layers of 3 MB"
)

// bench is a run whose servers are up.
type bench struct {
	options
	images   *images
	server   *harness.Server
	peer     *containerd
	runtimes []*runtime // Porthole, the peer
	meter    *cpuMeter
	report   *report
}

// measure sets all up, takes the samples, and says on stderr how far it is.
func measure(ctx context.Context, o options, u *undo) (*report, error) {
	b := &bench{options: o, report: &report{}}
	load := loadAverage()
	dir, err := isolate(ctx, u)
	if err != nil {
		return nil, err
	}
	if b.meter, err = startMeter(u); err != nil {
		return nil, err
	}
	say("building the images")
	if b.images, err = serve(ctx, o, u); err != nil {
		return nil, err
	}
	say("starting porthole and containerd")
	if err := b.start(ctx, dir, u); err != nil {
		return nil, err
	}
	for i, stage := range []func(context.Context) error{b.cycles, b.spares, b.layers, b.pulls, b.memory, b.unpack, b.boots} {
		if !o.wants(stages[i]) {
			continue
		}
		if err := stage(ctx); ctx.Err() != nil {
			return nil, errors.New("interrupted: what the run made is taken down")
		} else if err != nil {
			return nil, fmt.Errorf("%w\nPorthole's log ends with\n%s", err, b.server.LogTail())
		}
	}
	b.report.notes, err = b.notes(ctx, load)
	return b.report, err
}

// start runs both servers below dir and pulls the sample image into both.
func (b *bench) start(ctx context.Context, dir string, u *undo) error {
	ours, theirs := filepath.Join(dir, "p"), filepath.Join(dir, "c")
	if err := errors.Join(os.Mkdir(ours, 0o755), os.Mkdir(theirs, 0o755)); err != nil {
		return err
	}
	conf, err := peerConf(deploy.CNIConf)
	if err != nil {
		return err
	}
	if b.server, err = harness.New(harness.Config{Dir: ours, Bin: b.bin, Guest: b.guest, CNIConf: deploy.CNIConf}); err != nil {
		return err
	}
	if err := b.server.Start(ctx); err != nil {
		return err
	}
	u.add(b.server.Stop)
	if err := b.server.AwaitTemplates(ctx); err != nil {
		return err
	}
	if b.peer, err = startContainerd(ctx, theirs, b.images.pause, conf); err != nil {
		return err
	}
	u.add(b.peer.stop)
	b.runtimes = []*runtime{
		{name: portholeName, RuntimeServiceClient: b.server.RuntimeServiceClient, images: b.server.Images, logs: filepath.Join(ours, "logs")},
		&b.peer.runtime,
	}
	for _, r := range b.runtimes {
		for _, ref := range []string{b.images.sample, b.images.flat, b.images.deep, b.images.thick} {
			if _, err := r.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}}); err != nil {
				return fmt.Errorf("%s: PullImage: %w", r.name, err)
			}
		}
	}
	return nil
}

// turns are the runtimes in the order of the n-th turn: each is first as often as last.
func (b *bench) turns(n int) []*runtime {
	if n%2 == 0 {
		return b.runtimes
	}
	return []*runtime{b.runtimes[1], b.runtimes[0]}
}

// cycles takes the samples of the pod's steps. The first of each runtime warms caches
// and is not counted.
func (b *bench) cycles(ctx context.Context) error {
	var warm table
	for i := range b.n + 1 {
		say("pod %d of %d", i, b.n)
		t := &b.report.steps
		if i == 0 {
			t = &warm
		}
		for _, r := range b.turns(i) {
			if err := r.cycle(ctx, t, b.meter, b.images.sample, fmt.Sprintf("pod-%d", i)); err != nil {
				return err
			}
		}
		phases := &b.report.phases
		if i == 0 {
			phases = &table{}
		}
		if err := tracePod(ctx, b.server, phases, fmt.Sprintf("pod-%d", i)); err != nil {
			return err
		}
	}
	return nil
}

// layers takes the samples of containers whose images differ in their layers alone. Each
// is in a pod of its own: what a pod has mounted costs its next container nothing.
func (b *bench) layers(ctx context.Context) error {
	for i := range b.n + 1 {
		say("layers %d of %d", i, b.n)
		for _, r := range b.turns(i) {
			for _, image := range []struct{ row, ref string }{
				{rowFlat, b.images.flat},
				{rowDeep, b.images.deep},
				{rowThick, b.images.thick},
			} {
				t, phases := &b.report.layers, &b.report.deepPhases
				if i == 0 {
					t, phases = &table{}, &table{}
				}
				name := fmt.Sprintf("layers-%d", i)
				err := r.oneContainer(ctx, t, image.row, image.ref, name, func() error {
					if image.ref != b.images.deep || r.name != portholeName {
						return nil
					}
					return tracePod(ctx, b.server, phases, name)
				})
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *bench) pulls(ctx context.Context) error {
	for i := range b.options.pulls {
		say("pull %d of %d", i+1, b.options.pulls)
		for _, r := range b.turns(i) {
			before := b.images.fetched()
			if err := r.pull(ctx, &b.report.steps, b.meter, b.images.large, b.images.tarMB); err != nil {
				return err
			}
			if got, want := b.images.fetched()-before, len(b.images.layers); got < want {
				return fmt.Errorf("%s: the pull fetched %d layers of %d: the rest was not removed before", r.name, got, want)
			}
		}
	}
	return nil
}

// memory reads what idle pods hold, first without a container, then with one.
func (b *bench) memory(ctx context.Context) error {
	say("starting %d idle pods on each", b.pods)
	type pod struct {
		id     string
		config *cri.PodSandboxConfig
	}
	pods := map[*runtime][]pod{}
	for i := range b.pods {
		for _, r := range b.turns(i) {
			config, err := r.podConfig(fmt.Sprintf("idle-%d", i))
			if err != nil {
				return err
			}
			id, err := r.runPod(ctx, config)
			if err != nil {
				return err
			}
			pods[r] = append(pods[r], pod{id, config})
		}
	}
	if err := b.readMemory(ctx, "idle pod"); err != nil {
		return err
	}
	for _, r := range b.runtimes {
		for _, p := range pods[r] {
			if _, err := r.startContainer(ctx, p.id, p.config, b.images.sample); err != nil {
				return err
			}
		}
	}
	if err := b.readMemory(ctx, "with a container"); err != nil {
		return err
	}
	for runtime, pid := range map[string]int{portholeName: b.server.PID(), containerdName: b.peer.PID()} {
		size, err := pss(harness.Process{PID: pid})
		if err != nil {
			return err
		}
		b.report.memory.add("the server itself", mebibytes, runtime, size)
	}
	return nil
}

func (b *bench) readMemory(ctx context.Context, state string) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	all, err := harness.Processes()
	if err != nil {
		return err
	}
	return idlePods(&b.report.memory, state, harness.Shims(all, b.server.Dir), containerdShims(all, b.peer.Socket), all, b.pods)
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[bench] "+format+"\n", args...)
}
