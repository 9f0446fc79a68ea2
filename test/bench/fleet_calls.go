package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// undecoded is a connection whose answers nobody decodes: a call ends when all bytes of its
// answer are there. The messages of the answers stay empty.
type undecoded struct {
	grpc.ClientConnInterface
	bytes *int // of the last answer
}

func (u undecoded) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	return u.ClientConnInterface.Invoke(ctx, method, in, out, append(opts, grpc.ForceCodecV2(encodeOnly{encoding.GetCodecV2("proto"), u.bytes}))...)
}

// encodeOnly is a codec that passes over what it is to decode.
type encodeOnly struct {
	encoding.CodecV2
	bytes *int
}

func (e encodeOnly) Unmarshal(data mem.BufferSlice, _ any) error {
	*e.bytes = data.Len()
	return nil
}

const podStatsCall = "ListPodSandboxStats"

// fleetCall is a call that is measured.
type fleetCall struct {
	name string
	call func(ctx context.Context, i int) error // the i-th time
}

// calls are the calls that are measured. Without decode nobody looks at the answers.
func (f *fleet) calls(decode bool) []fleetCall {
	rt, im := f.rt, f.im
	if !decode {
		c := undecoded{f.conn, &f.answer}
		rt, im = runtimeapi.NewRuntimeServiceClient(c), runtimeapi.NewImageServiceClient(c)
	}
	// An answer that is not whole would have been quick.
	count := func(got, want int, err error) error {
		if err == nil && decode && got != want {
			err = fmt.Errorf("%d in the answer, not %d", got, want)
		}
		return err
	}
	pod := func(i int) string { return f.pods[i%len(f.pods)] }
	container := func(i int) string { return f.containers[i%len(f.containers)] }
	return []fleetCall{
		{"ListPodSandbox", func(ctx context.Context, _ int) error {
			r, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
			return count(len(r.GetItems()), len(f.pods), err)
		}},
		{"ListContainers", func(ctx context.Context, _ int) error {
			r, err := rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
			return count(len(r.GetContainers()), len(f.containers), err)
		}},
		{"ListContainers of a pod", func(ctx context.Context, i int) error {
			r, err := rt.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{PodSandboxId: pod(i)}})
			return count(len(r.GetContainers()), containersEach, err)
		}},
		{"PodSandboxStatus", func(ctx context.Context, i int) error {
			_, err := rt.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod(i)})
			return err
		}},
		{"ContainerStatus", func(ctx context.Context, i int) error {
			_, err := rt.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: container(i)})
			return err
		}},
		{"Status", func(ctx context.Context, _ int) error {
			_, err := rt.Status(ctx, &runtimeapi.StatusRequest{})
			return err
		}},
		{"ListImages", func(ctx context.Context, _ int) error {
			r, err := im.ListImages(ctx, &runtimeapi.ListImagesRequest{})
			return count(len(r.GetImages()), 1, err)
		}},
		{"ImageFsInfo", func(ctx context.Context, _ int) error {
			_, err := im.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
			return err
		}},
		{"ContainerStats", func(ctx context.Context, i int) error {
			_, err := rt.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: container(i)})
			return err
		}},
		{"ListContainerStats", func(ctx context.Context, _ int) error {
			r, err := rt.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
			return count(len(r.GetStats()), len(f.containers), err)
		}},
		{podStatsCall, func(ctx context.Context, _ int) error {
			r, err := rt.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
			return count(len(r.GetStats()), len(f.pods), err)
		}},
		{"ListPodSandboxMetrics", func(ctx context.Context, _ int) error {
			r, err := rt.ListPodSandboxMetrics(ctx, &runtimeapi.ListPodSandboxMetricsRequest{})
			return count(len(r.GetPodMetrics()), len(f.pods), err)
		}},
	}
}
