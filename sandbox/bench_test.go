package sandbox_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

func benchManager(b *testing.B, pods int) *sandbox.Manager {
	n := sandboxtest.New()
	c := n.Config(b.TempDir())
	c.Logger = slog.New(slog.DiscardHandler)
	m, err := sandbox.New(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Close)
	for i := range pods {
		pod := mustRun(b, m, podConfig(fmt.Sprint("p", i)))
		for j := range 2 {
			mustCreate(b, m, pod, containerConfig(fmt.Sprint("c", j)))
		}
	}
	return m
}

// BenchmarkList is what kubelet asks every second of a full node.
func BenchmarkList(b *testing.B) {
	m := benchManager(b, 500)
	b.Run("pods", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := m.EachPod(b.Context(), sandbox.PodFilter{}, func(*sandbox.Pod) { n++ }); err != nil || n != 500 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("containers", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := m.EachContainer(b.Context(), sandbox.ContainerFilter{}, func(*sandbox.Container) { n++ }); err != nil || n != 1000 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("containers-usage", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := m.EachContainerUsage(b.Context(), sandbox.ContainerFilter{}, func(*sandbox.ContainerUsage) { n++ }); err != nil || n != 1000 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("pods-usage", func(b *testing.B) {
		for b.Loop() {
			n := 0
			if err := m.EachPodUsage(b.Context(), sandbox.PodFilter{}, false, func(*sandbox.PodUsage) { n++ }); err != nil || n != 500 {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("one-pods-containers", func(b *testing.B) {
		pods, err := m.Pods(b.Context(), sandbox.PodFilter{})
		must(b, err)
		for b.Loop() {
			if _, err := m.Containers(b.Context(), sandbox.ContainerFilter{PodID: pods[0].ID}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRunPod is the daemon's own part of a pod's start and end.
func BenchmarkRunPod(b *testing.B) {
	m := benchManager(b, 0)
	for b.Loop() {
		id := mustRun(b, m, podConfig("p"))
		must(b, m.StopPod(b.Context(), id))
		must(b, m.RemovePod(b.Context(), id))
	}
}
