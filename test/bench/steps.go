package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// execs is how often a cycle runs `true` in its container.
const execs = 3

// Rows of steps that are taken more than once.
const (
	stepRun   = "RunPodSandbox"
	stepStart = "Create + StartContainer to first output"
	stepBoth  = "from nothing to first output"
	stepExec  = "ExecSync of true"

	stepStop       = "StopPodSandbox"
	stepRemove     = "RemovePodSandbox"
	stepStopRemove = "stop + remove"
	stepPull       = "pull + unpack"
)

// callTime bounds one call.
const callTime = 2 * time.Minute

// runtime is one CRI server under measurement.
type runtime struct {
	name string
	cri.RuntimeServiceClient
	images cri.ImageServiceClient
	logs   string // folder of containers' logs
}

// lapTimer splits time and CPU seconds into steps.
type lapTimer struct {
	t       *table
	meter   *cpuMeter
	runtime string
	begin   time.Time
	cpu     float64
}

func (l *lapTimer) start() error {
	var err error
	l.cpu, err = l.meter.seconds()
	l.begin = time.Now()
	return err
}

// lap records the step that ends now; what the reading takes belongs to no step.
func (l *lapTimer) lap(step string) (time.Duration, error) {
	took := time.Since(l.begin)
	cpu, err := l.meter.seconds()
	l.t.add(step, milliseconds, l.runtime, float64(took)/1e6)
	l.t.addCPU(step, milliseconds, l.runtime, cpu-l.cpu)
	l.cpu = cpu
	l.begin = time.Now()
	return took, err
}

func (r *runtime) podConfig(name string) (*cri.PodSandboxConfig, error) {
	logs := filepath.Join(r.logs, name)
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "bench", Uid: name},
		LogDirectory: logs,
		Linux:        &cri.LinuxPodSandboxConfig{CgroupParent: cgroupParent},
	}, os.MkdirAll(logs, 0o755)
}

func (r *runtime) runPod(ctx context.Context, config *cri.PodSandboxConfig) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	pod, err := r.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return "", fmt.Errorf("%s: RunPodSandbox: %w", r.name, err)
	}
	return pod.PodSandboxId, nil
}

// startContainer runs a container that says one line and sleeps, and waits for the line
// in its log.
func (r *runtime) startContainer(ctx context.Context, pod string, config *cri.PodSandboxConfig, image string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	ctr, err := r.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: pod, SandboxConfig: config, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "c"},
		Image:    &cri.ImageSpec{Image: image},
		Command:  []string{"/bin/sh", "-c", "echo started; exec sleep 3600"},
		LogPath:  "c.log",
		Linux:    &cri.LinuxContainerConfig{},
	}})
	if err != nil {
		return "", fmt.Errorf("%s: CreateContainer: %w", r.name, err)
	}
	if _, err := r.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: ctr.ContainerId}); err != nil {
		return "", fmt.Errorf("%s: StartContainer: %w", r.name, err)
	}
	if err := firstOutput(ctx, filepath.Join(config.LogDirectory, "c.log")); err != nil {
		return "", fmt.Errorf("%s: %w", r.name, err)
	}
	return ctr.ContainerId, nil
}

// cycle runs one pod from start to removal and records each step. A pod that fails
// half-way is left for removePods.
func (r *runtime) cycle(ctx context.Context, t *table, m *cpuMeter, image, name string) error {
	config, err := r.podConfig(name)
	if err != nil {
		return err
	}
	l := lapTimer{t: t, meter: m, runtime: r.name}
	if err := l.start(); err != nil {
		return err
	}
	pod, err := r.runPod(ctx, config)
	if err != nil {
		return err
	}
	first, err := l.lap(stepRun)
	if err != nil {
		return err
	}
	ctr, err := r.startContainer(ctx, pod, config, image)
	if err != nil {
		return err
	}
	second, err := l.lap(stepStart)
	if err != nil {
		return err
	}
	t.add(stepBoth, milliseconds, r.name, float64(first+second)/1e6)
	for range execs {
		x, err := r.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: ctr, Cmd: []string{"true"}, Timeout: 30})
		if err != nil {
			return fmt.Errorf("%s: ExecSync: %w", r.name, err)
		}
		if x.ExitCode != 0 {
			return fmt.Errorf("%s: ExecSync: true ended with %d: %s", r.name, x.ExitCode, x.Stderr)
		}
		if _, err := l.lap(stepExec); err != nil {
			return err
		}
	}
	if _, err := r.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
		return fmt.Errorf("%s: StopPodSandbox: %w", r.name, err)
	}
	stopped, err := l.lap(stepStop)
	if err != nil {
		return err
	}
	if _, err := r.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		return fmt.Errorf("%s: RemovePodSandbox: %w", r.name, err)
	}
	removed, err := l.lap(stepRemove)
	t.add(stepStopRemove, milliseconds, r.name, float64(stopped+removed)/1e6)
	return err
}

// oneContainer runs a pod with one container of an image, and records how long the
// container took from its creation to its first output. inspect is called while it runs.
func (r *runtime) oneContainer(ctx context.Context, t *table, row, image, name string, inspect func() error) error {
	config, err := r.podConfig(name)
	if err != nil {
		return err
	}
	pod, err := r.runPod(ctx, config)
	if err != nil {
		return err
	}
	begin := time.Now()
	if _, err := r.startContainer(ctx, pod, config, image); err != nil {
		return err
	}
	t.add(row, milliseconds, r.name, float64(time.Since(begin))/1e6)
	if err := inspect(); err != nil {
		return err
	}
	_, err1 := r.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod})
	_, err2 := r.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod})
	// The next one must not find this one's output.
	return errors.Join(err1, err2, os.RemoveAll(config.LogDirectory))
}

// firstOutput waits until a log has something in it.
func firstOutput(ctx context.Context, path string) error {
	for {
		if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for output in %s: %w", path, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// pull removes an image where it is there, pulls it, and records how long that took;
// tarMB is the size of its layers as tar.
func (r *runtime) pull(ctx context.Context, t *table, m *cpuMeter, image string, tarMB float64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*callTime)
	defer cancel()
	if _, err := r.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}}); err != nil {
		return fmt.Errorf("%s: RemoveImage: %w", r.name, err)
	}
	before, err := m.seconds()
	if err != nil {
		return err
	}
	begin := time.Now()
	if _, err := r.images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}}); err != nil {
		return fmt.Errorf("%s: PullImage: %w", r.name, err)
	}
	took := time.Since(begin).Seconds()
	after, err := m.seconds()
	t.add(stepPull, seconds, r.name, took)
	t.addCPU(stepPull, seconds, r.name, after-before)
	t.add(stepPull+", of tar", rate, r.name, tarMB/took)
	return err
}

// removePods removes all pods, for the end of a run.
func (r *runtime) removePods(ctx context.Context) error {
	pods, err := r.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	errs := []error{err}
	for _, p := range pods.GetItems() {
		_, err1 := r.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.Id})
		_, err2 := r.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.Id})
		errs = append(errs, err1, err2)
	}
	return errors.Join(errs...)
}
