package main

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

func TestTopOf(t *testing.T) {
	pod := func(id string, shim, vm int) sandbox.Pod {
		return sandbox.Pod{
			ID: id, Config: sandbox.PodConfig{Namespace: "default", Name: id}, Shim: sandbox.ShimInfo{PID: shim, VMPID: vm},
		}
	}
	pods := []sandbox.Pod{pod("small", 10, 11), pod("hangs", 20, 21), pod("gone", 30, 31)}
	cores := uint64(250_000_000)
	usages := []sandbox.PodUsage{{
		Pod: pods[0], NanoCores: &cores, Containers: make([]sandbox.ContainerUsage, 2),
		Usage: usage.Pod{Group: &usage.Group{Memory: &usage.Memory{Usage: 100, InactiveFile: 30}}},
	}}
	got := topOf(pods, usages, func(pid int) (uint64, error) {
		if pid >= 30 {
			return 0, errors.New("ended")
		}
		return uint64(pid) * 1000, nil
	})
	ptr := func(n uint64) *uint64 { return &n }
	two, quarter := 2, .25
	want := []topPod{
		{ID: "hangs", Namespace: "default", Name: "hangs", ShimPID: 20, ShimBytes: ptr(20000), VMBytes: ptr(21000)},
		{ID: "small", Namespace: "default", Name: "small", ShimPID: 10, ShimBytes: ptr(10000), VMBytes: ptr(11000),
			Containers: &two, Cores: &quarter, GuestBytes: ptr(70)},
		{ID: "gone", Namespace: "default", Name: "gone", ShimPID: 30},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("top (-want +got):\n%s", d)
	}
}
