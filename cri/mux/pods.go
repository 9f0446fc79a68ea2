package mux

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The calls that change who has what.

func (m *Mux) runPod(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	r := &runtimeapi.RunPodSandboxRequest{}
	if err := decode(in, r); err != nil {
		return err
	}
	s := m.handlerOwner(r.GetRuntimeHandler())
	last, err := m.pass(ctx, s, method, in, out)
	resp := &runtimeapi.RunPodSandboxResponse{}
	if err != nil || proto.Unmarshal(last.b, resp) != nil || resp.GetPodSandboxId() == "" {
		return err
	}
	c := r.GetConfig()
	s.learnPods([]*runtimeapi.PodSandbox{{
		Id: resp.GetPodSandboxId(), Metadata: c.GetMetadata(), State: runtimeapi.PodSandboxState_SANDBOX_READY,
		CreatedAt: time.Now().UnixNano(), Labels: c.GetLabels(), Annotations: c.GetAnnotations(), RuntimeHandler: r.GetRuntimeHandler(),
	}}, false)
	return nil
}

func (m *Mux) createContainer(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	r := &runtimeapi.CreateContainerRequest{}
	if err := decode(in, r); err != nil {
		return err
	}
	s, err := m.podOwner(ctx, r.GetPodSandboxId())
	if err != nil {
		return err
	}
	last, err := m.pass(ctx, s, method, in, out)
	resp := &runtimeapi.CreateContainerResponse{}
	if err != nil || proto.Unmarshal(last.b, resp) != nil || resp.GetContainerId() == "" {
		return err
	}
	c := r.GetConfig()
	s.learnContainers([]*runtimeapi.Container{{
		Id: resp.GetContainerId(), PodSandboxId: r.GetPodSandboxId(), Metadata: c.GetMetadata(), Image: c.GetImage(),
		ImageRef: c.GetImage().GetImage(), ImageId: c.GetImage().GetImage(),
		State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: time.Now().UnixNano(),
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(),
	}}, false)
	return nil
}

func (m *Mux) removePod(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	s, id, err := m.toOwner(ctx, method, in, out, 1, m.podOwner)
	if err == nil {
		s.forgetPod(id)
	}
	return err
}

func (m *Mux) removeContainer(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	s, id, err := m.toOwner(ctx, method, in, out, 1, m.containerOwner)
	if err == nil {
		s.forgetContainer(id)
	}
	return err
}
