package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// killAmid starts calls one after the other, kills the daemon while some of them are at
// work, at a moment of chance, and starts it again.
func killAmid(t *testing.T, s *server, apart, atMost time.Duration, calls ...func(context.Context)) {
	t.Helper()
	ctx := testContext(t)
	var wg sync.WaitGroup
	for i, call := range calls {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * apart)
			call(ctx)
		})
	}
	at := atMost/4 + rand.N(atMost*3/4)
	time.Sleep(at)
	t.Logf("killed after %v", at)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// checkTruth compares what the server tells with what runs: each ready pod has a VM and
// takes a container, and no other VM is there.
func checkTruth(t *testing.T, s *server) (ready []*cri.PodSandbox) {
	t.Helper()
	r, err := s.ListPodSandbox(testContext(t), &cri.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Items {
		t.Logf("pod %s is %v", p.Metadata.Name, p.State)
		if p.State == cri.PodSandboxState_SANDBOX_READY {
			ready = append(ready, p)
		}
	}
	if shims, vms := len(shimPIDs(t, s)), len(vmPIDs(t, s)); shims != len(ready) || vms != len(ready) {
		t.Errorf("%d pods are ready, but %d shims and %d VMs run", len(ready), shims, vms)
	}
	return ready
}

// checkEmpty removes all pods and checks that nothing is left of them.
func checkEmpty(t *testing.T, s *server, before map[string]int) {
	t.Helper()
	if err := s.RemovePods(testContext(t)); err != nil {
		t.Error(err)
	}
	sameHost(t, before, hostState(t))
	nothingLeft(t, s)
}

func TestDaemonKilledAtWork(t *testing.T) {
	s := ownServer(t, serverConfig{})
	before := hostState(t)
	logs := t.TempDir()
	podNamed := func(name string) *cri.PodSandboxConfig {
		c := podConfig(t)
		c.Metadata.Name, c.LogDirectory = name, logs
		return c
	}
	run := func(ctx context.Context, name string) (string, error) {
		r, err := s.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: podNamed(name)})
		return r.GetPodSandboxId(), err
	}

	t.Run("run-pod", func(t *testing.T) {
		var calls []func(context.Context)
		for i := range 4 {
			calls = append(calls, func(ctx context.Context) { run(ctx, fmt.Sprintf("pod-%d", i)) })
		}
		killAmid(t, s, 400*time.Millisecond, 4*time.Second, calls...)
		for _, p := range checkTruth(t, s) {
			k := &container{pod: &pod{t: t, s: s, id: p.Id, config: podNamed(p.Metadata.Name)}}
			*k = *k.pod.start(sh("after", "exec sleep 600"))
			if got := k.exec("echo whole"); got != "whole" {
				t.Errorf("exec in pod %s: %q", p.Metadata.Name, got)
			}
		}
		checkEmpty(t, s, before)
	})

	t.Run("create-and-pull", func(t *testing.T) {
		s.pull(t, env.registry.sample)
		id, err := run(testContext(t), "pod")
		if err != nil {
			t.Fatal(err)
		}
		calls := []func(context.Context){func(ctx context.Context) {
			s.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: env.registry.big}})
		}}
		config := podNamed("pod")
		for i := range 4 {
			calls = append(calls, func(ctx context.Context) {
				r, err := s.CreateContainer(ctx, &cri.CreateContainerRequest{
					PodSandboxId: id, SandboxConfig: config, Config: sh(fmt.Sprintf("container-%d", i), "exec sleep 600"),
				})
				if err == nil {
					s.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: r.ContainerId})
				}
			})
		}
		killAmid(t, s, 100*time.Millisecond, 1200*time.Millisecond, calls...)
		if ready := checkTruth(t, s); len(ready) != 1 {
			t.Fatalf("ready pods: %v, want one", ready)
		}
		r, err := s.ListContainers(testContext(t), &cri.ListContainersRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range r.Containers {
			t.Logf("container %s is %v", c.Metadata.Name, c.State)
			k := &container{pod: &pod{t: t, s: s, id: id, config: config}, id: c.Id, config: sh(c.Metadata.Name, "")}
			switch c.State {
			case cri.ContainerState_CONTAINER_CREATED:
				k.start()
				fallthrough
			case cri.ContainerState_CONTAINER_RUNNING:
				if got := k.exec("echo whole"); got != "whole" {
					t.Errorf("exec in %s: %q", c.Metadata.Name, got)
				}
			default:
				t.Errorf("container %s: %v", c.Metadata.Name, k.status())
			}
			k.remove()
		}
		s.pull(t, env.registry.big)
		if _, err := s.Images.RemoveImage(testContext(t), &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: env.registry.big}}); err != nil {
			t.Error(err)
		}
	})

	t.Run("stop-pod", func(t *testing.T) {
		r, err := s.ListPodSandbox(testContext(t), &cri.ListPodSandboxRequest{})
		if err != nil || len(r.Items) != 1 {
			t.Fatalf("pods: %v, %v", r.GetItems(), err)
		}
		k := &container{pod: &pod{t: t, s: s, id: r.Items[0].Id, config: podNamed("pod")}}
		*k = *k.pod.start(sh("sleeper", "exec sleep 600"))
		killAmid(t, s, 0, 700*time.Millisecond, func(ctx context.Context) {
			s.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: k.pod.id})
		})
		if len(checkTruth(t, s)) == 0 {
			if st := k.wait(); st.ExitCode == 0 {
				t.Errorf("a container of a stopped pod: %v", st)
			}
		}
		checkEmpty(t, s, before)
	})
}

// TestShimKilled ends a pod's shim as the kernel does when memory is short.
func TestShimKilled(t *testing.T) {
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	k := p.start(sh("sleeper", "exec sleep 600"))
	killAll(t, shimPIDs(t, s))
	eventually(t, "the pod is not ready", func() bool { return p.status().State == cri.PodSandboxState_SANDBOX_NOTREADY })
	st := k.wait()
	if st.ExitCode == 0 || st.Message == "" {
		t.Errorf("the container of a lost VM: %v", st)
	}
	eventually(t, "QEMU went with its shim", func() bool { return hostState(t)["shim"] == hostState(t)["qemu"] })
}
