package sandbox_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

func TestLookupByPrefix(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node) {
		first := make(map[byte]string)
		for i := range 17 { // of 17 ids two begin with the same digit
			id := mustRun(t, m, podConfig(fmt.Sprint("p", i)))
			if _, ok := first[id[0]]; ok {
				if _, err := m.Pod(t.Context(), id[:1]); !errdefs.IsInvalidArgument(err) {
					t.Fatalf("Pod by a shared prefix = %v, want InvalidArgument", err)
				}
				return
			}
			first[id[0]] = id
			if got := getPod(t, m, id[:1]); got.ID != id {
				t.Fatalf("Pod(%q) = %s, want %s", id[:1], got.ID, id)
			}
		}
	})
}

func TestLists(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node) {
		ctx := t.Context()
		a := mustRun(t, m, podConfig("a"))
		time.Sleep(time.Second)
		b := mustRun(t, m, podConfig("b"))
		ca := mustCreate(t, m, a, containerConfig("ca"))
		time.Sleep(time.Second)
		cb := mustCreate(t, m, b, containerConfig("cb"))
		must(t, m.StartContainer(ctx, cb))
		must(t, m.StopPod(ctx, a))
		for _, tt := range []struct {
			f    sandbox.PodFilter
			want []string
		}{
			{sandbox.PodFilter{}, []string{a, b}},
			{sandbox.PodFilter{ID: b}, []string{b}},
			{sandbox.PodFilter{ID: "ffffffffffffffffffffffffffffffff"}, nil},
			{sandbox.PodFilter{State: sandbox.PodReady}, []string{b}},
			{sandbox.PodFilter{State: sandbox.PodNotReady}, []string{a}},
			{sandbox.PodFilter{Labels: map[string]string{"app": "a"}}, []string{a}},
			{sandbox.PodFilter{ID: b, Labels: map[string]string{"app": "a"}}, nil},
		} {
			pods, err := m.Pods(ctx, tt.f)
			must(t, err)
			var got []string
			for _, p := range pods {
				got = append(got, p.ID)
			}
			if !cmp.Equal(got, tt.want) {
				t.Errorf("Pods(%+v) = %v, want %v", tt.f, got, tt.want)
			}
		}
		for _, tt := range []struct {
			f    sandbox.ContainerFilter
			want []string
		}{
			{sandbox.ContainerFilter{}, []string{ca, cb}},
			{sandbox.ContainerFilter{ID: ca}, []string{ca}},
			{sandbox.ContainerFilter{PodID: b}, []string{cb}},
			{sandbox.ContainerFilter{ID: ca, PodID: b}, nil},
			{sandbox.ContainerFilter{PodID: "ffffffffffffffffffffffffffffffff"}, nil},
			{sandbox.ContainerFilter{Phase: sandbox.ContainerRunning}, []string{cb}},
			{sandbox.ContainerFilter{Phase: sandbox.ContainerExited}, []string{ca}},
			{sandbox.ContainerFilter{Labels: map[string]string{"name": "ca"}}, []string{ca}},
		} {
			cs, err := m.Containers(ctx, tt.f)
			must(t, err)
			var got []string
			for _, c := range cs {
				got = append(got, c.ID)
			}
			if !cmp.Equal(got, tt.want) {
				t.Errorf("Containers(%+v) = %v, want %v", tt.f, got, tt.want)
			}
		}
	})
}

func TestScratchUsage(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, _ *sandboxtest.Node) {
		want := func(bytes uint64, disks int) {
			t.Helper()
			u, err := m.ScratchUsage(t.Context())
			if err != nil || u.Bytes != bytes || u.Disks != disks || u.Dir == "" {
				t.Errorf("ScratchUsage = %+v, %v; want %d bytes in %d disks", u, err, bytes, disks)
			}
		}
		want(0, 0)
		a := mustRun(t, m, podConfig("a"))
		mustRun(t, m, podConfig("b"))
		want(2*(1<<30/10), 2)
		must(t, m.StopPod(t.Context(), a))
		want(1<<30/10, 1)
	})
}

func TestListsDoNotWait(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod := mustRun(t, m, podConfig("p"))
		c := mustCreate(t, m, pod, containerConfig("c"))
		release := make(chan struct{})
		n.OnCall(func(string) { <-release })
		done := make(chan error, 2)
		go func() { done <- m.StartContainer(t.Context(), c) }()
		go func() { _, err := m.RunPod(t.Context(), podConfig("q")); done <- err }()
		synctest.Wait() // both hang in a slow step
		if pods, err := m.Pods(t.Context(), sandbox.PodFilter{}); err != nil || len(pods) != 1 {
			t.Errorf("Pods = %v, %v; want the one that is made", pods, err)
		}
		if got := getContainer(t, m, c); got.Phase != sandbox.ContainerCreatedPhase {
			t.Errorf("Phase = %s, want created", got.Phase)
		}
		close(release)
		must(t, errors.Join(<-done, <-done))
	})
}
