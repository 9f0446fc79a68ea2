package cri

import (
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The verbs that are not built. Each says so in a sentence; the kubelet does without
// all of them, as docs/cri.md says.

// ContainerStats answers Unimplemented.
func (s *Server) ContainerStats(context.Context, *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	return nil, unbuilt("ContainerStats", "statistics are not built yet")
}

// ListContainerStats answers Unimplemented.
func (s *Server) ListContainerStats(context.Context, *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return nil, unbuilt("ListContainerStats", "statistics are not built yet")
}

// PodSandboxStats answers Unimplemented.
func (s *Server) PodSandboxStats(context.Context, *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	return nil, unbuilt("PodSandboxStats", "statistics are not built yet")
}

// ListPodSandboxStats answers Unimplemented.
func (s *Server) ListPodSandboxStats(context.Context, *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return nil, unbuilt("ListPodSandboxStats", "statistics are not built yet")
}

// ListMetricDescriptors answers Unimplemented.
func (s *Server) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	return nil, unbuilt("ListMetricDescriptors", "container metrics are not built yet")
}

// ListPodSandboxMetrics answers Unimplemented.
func (s *Server) ListPodSandboxMetrics(context.Context, *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	return nil, unbuilt("ListPodSandboxMetrics", "container metrics are not built yet")
}

// UpdatePodSandboxResources answers Unimplemented.
func (s *Server) UpdatePodSandboxResources(context.Context, *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return nil, unbuilt("UpdatePodSandboxResources", "changing the size of a VM that runs is not built yet")
}

// CheckpointContainer answers Unimplemented.
func (s *Server) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	return nil, unbuilt("CheckpointContainer", "containers cannot be checkpointed")
}

// CheckpointPod answers Unimplemented.
func (s *Server) CheckpointPod(context.Context, *runtimeapi.CheckpointPodRequest) (*runtimeapi.CheckpointPodResponse, error) {
	return nil, unbuilt("CheckpointPod", "pods cannot be checkpointed")
}

// RestorePod answers Unimplemented.
func (s *Server) RestorePod(context.Context, *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return nil, unbuilt("RestorePod", "pods cannot be checkpointed, so none can be restored")
}

// GetContainerEvents answers Unimplemented.
func (s *Server) GetContainerEvents(*runtimeapi.GetEventsRequest, grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	return unbuilt("GetContainerEvents", "events are not built yet; list containers instead")
}

// StreamPodSandboxes answers Unimplemented.
func (s *Server) StreamPodSandboxes(*runtimeapi.StreamPodSandboxesRequest, grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	return unbuilt("StreamPodSandboxes", "lists are not streamed yet; call ListPodSandbox")
}

// StreamContainers answers Unimplemented.
func (s *Server) StreamContainers(*runtimeapi.StreamContainersRequest, grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	return unbuilt("StreamContainers", "lists are not streamed yet; call ListContainers")
}

// StreamContainerStats answers Unimplemented.
func (s *Server) StreamContainerStats(*runtimeapi.StreamContainerStatsRequest, grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	return unbuilt("StreamContainerStats", "statistics are not built yet")
}

// StreamPodSandboxStats answers Unimplemented.
func (s *Server) StreamPodSandboxStats(*runtimeapi.StreamPodSandboxStatsRequest, grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	return unbuilt("StreamPodSandboxStats", "statistics are not built yet")
}

// StreamPodSandboxMetrics answers Unimplemented.
func (s *Server) StreamPodSandboxMetrics(*runtimeapi.StreamPodSandboxMetricsRequest, grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	return unbuilt("StreamPodSandboxMetrics", "container metrics are not built yet")
}

// StreamImages answers Unimplemented.
func (s *Server) StreamImages(*runtimeapi.StreamImagesRequest, grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	return unbuilt("StreamImages", "lists are not streamed yet; call ListImages")
}
