package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/test/registry"
)

// cut makes a call with a deadline of its own, and checks that it ends then or is done.
func cut(t *testing.T, after time.Duration, call func(context.Context) error) (done bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), after)
	defer cancel()
	start := time.Now()
	err := call(ctx)
	if took := time.Since(start); took > after+2*time.Second {
		t.Errorf("a call with %v to go took %v", after, took)
	}
	if err != nil && status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a call that was cut after %v: %v", after, err)
	}
	return err == nil
}

// TestCallersGiveUp cuts calls at many moments, as crictl does after its 2 seconds: what
// was begun is undone or done, and a repeat works.
func TestCallersGiveUp(t *testing.T) {
	s := ownServer(t, serverConfig{})
	before := hostState(t)
	config := podConfig(t)
	var id string
	run := func(ctx context.Context) error {
		r, err := s.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
		if err == nil {
			id = r.PodSandboxId
		}
		return err
	}
	// A repeat finds the name taken until the first call is undone; then it works.
	repeat := func(what string, call func(context.Context) error) {
		t.Helper()
		eventually(t, what+" works again", func() bool {
			err := call(testContext(t))
			if err != nil && status.Code(err) != codes.AlreadyExists {
				t.Fatalf("%s again: %v", what, err)
			}
			return err == nil
		})
	}

	// A clone comes up within the longer of these.
	for _, after := range []time.Duration{time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond, 700 * time.Millisecond, 1500 * time.Millisecond} {
		if cut(t, after, run) {
			if _, err := s.RemovePodSandbox(testContext(t), &cri.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, fmt.Sprintf("what a RunPodSandbox cut after %v began is undone", after), func() bool {
			return maps.Equal(before, hostState(t))
		})
		r, err := s.ListPodSandbox(testContext(t), &cri.ListPodSandboxRequest{})
		if err != nil || len(r.Items) != 0 {
			t.Errorf("pods after a RunPodSandbox that was cut: %v, %v", r.GetItems(), err)
		}
		eventually(t, "its files are gone", func() bool { return len(leftovers(t, s)) == 0 })
	}

	// In the middle of the work the name is taken, and the answer says by whom.
	pulled := make(chan error, 1)
	env.registry.Inject(registry.Fault{Path: "e2e/layered/manifests/", Delay: 1500 * time.Millisecond, Times: 1})
	cutPull := func(ctx context.Context) error {
		_, err := s.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: env.registry.layered}})
		return err
	}
	if cut(t, 300*time.Millisecond, cutPull) {
		t.Error("a pull from a slow registry was done at once")
	}
	go func() { pulled <- cutPull(testContext(t)) }()
	repeat("RunPodSandbox", run)
	if err := <-pulled; err != nil {
		t.Errorf("PullImage again: %v", err)
	}

	s.pull(t, env.registry.sample)
	p := &pod{t: t, s: s, id: id, config: config}
	var k *container
	for i, after := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond} {
		k = &container{pod: p, config: sh(fmt.Sprintf("worker-%d", i), "exec sleep 600")}
		create := func(ctx context.Context) error {
			r, err := s.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: id, SandboxConfig: config, Config: k.config})
			if err == nil {
				k.id = r.ContainerId
			}
			if status.Code(err) == codes.AlreadyExists {
				// The call that was cut may have been done as its caller gave up.
				list, lerr := s.ListContainers(ctx, &cri.ListContainersRequest{})
				for _, c := range list.GetContainers() {
					if lerr == nil && c.Metadata.Name == k.config.Metadata.Name {
						k.id, err = c.Id, nil
					}
				}
			}
			return err
		}
		if !cut(t, after, create) {
			repeat("CreateContainer", create)
		}
	}
	k.start()
	r, err := s.ListContainers(testContext(t), &cri.ListContainersRequest{})
	if err != nil || len(r.Containers) != 3 {
		t.Errorf("containers: %v, %v, want three", r.GetContainers(), err)
	}
	stop := func(ctx context.Context) error {
		_, err := s.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
		return err
	}
	cut(t, 20*time.Millisecond, stop)
	repeat("StopPodSandbox", stop)
	if st := k.wait(); st.ExitCode != 137 {
		t.Errorf("the container of a stopped pod: %v", st)
	}
	checkEmpty(t, s, before)
}

// TestManyAtOnce runs pods side by side from pull to removal: PORTHOLE_TEST_PODS of
// them, or 3.
func TestManyAtOnce(t *testing.T) {
	atOnce := 3
	if n, err := strconv.Atoi(os.Getenv("PORTHOLE_TEST_PODS")); err == nil {
		atOnce = n
	}
	s := ownServer(t, serverConfig{})
	before := hostState(t)
	ctx := testContext(t)
	one := func(i int) error {
		config := podConfig(t)
		config.Metadata.Name = fmt.Sprintf("pod-%d", i)
		if _, err := s.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: env.registry.sample}}); err != nil {
			return err
		}
		r, err := s.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
		if err != nil {
			return err
		}
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for j := range errs {
			wg.Go(func() { errs[j] = containerInPod(ctx, s, r.PodSandboxId, config, fmt.Sprintf("container-%d", j)) })
		}
		wg.Wait()
		_, err = s.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: r.PodSandboxId})
		_, rerr := s.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: r.PodSandboxId})
		return errors.Join(append(errs, err, rerr)...)
	}
	var wg sync.WaitGroup
	for i := range atOnce {
		wg.Go(func() {
			if err := one(i); err != nil {
				t.Errorf("pod %d: %v", i, err)
			}
		})
	}
	// Two with the same name: one of them is told whom it ran into.
	config := podConfig(t)
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() { _, errs[i] = s.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config}) })
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		t.Errorf("two pods of one name: %v and %v, want one error", errs[0], errs[1])
	} else {
		refused(t, errors.Join(errs...), config.Metadata.Name, codes.AlreadyExists)
	}
	checkEmpty(t, s, before)
}

func containerInPod(ctx context.Context, s *server, podID string, config *cri.PodSandboxConfig, name string) error {
	r, err := s.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: podID, SandboxConfig: config, Config: sh(name, "exec sleep 600")})
	if err != nil {
		return err
	}
	if _, err := s.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
		return err
	}
	x, err := s.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: r.ContainerId, Cmd: []string{"echo", name}})
	if err == nil && string(x.Stdout) != name+"\n" {
		err = fmt.Errorf("exec printed %q", x.Stdout)
	}
	return err
}
