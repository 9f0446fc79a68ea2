package cri

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// ListPodSandboxMetrics tells the metrics of ready pods and their running containers as
// of now. Pods whose VMs do not answer are left out, and so is what is not known.
func (s *Server) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	metrics, err := s.listPodMetrics(ctx)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: metrics}, nil
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in parts.
func (s *Server) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, out grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	metrics, err := s.listPodMetrics(out.Context())
	if err != nil {
		return err
	}
	return inParts(metrics, func(part []*runtimeapi.PodSandboxMetrics) error {
		return out.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: part})
	})
}

func (s *Server) listPodMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	var out []*runtimeapi.PodSandboxMetrics
	err := s.usage.EachPodUsage(ctx, sandbox.PodFilter{}, true, func(u *sandbox.PodUsage) {
		c := &u.Pod.Config
		pod := &runtimeapi.PodSandboxMetrics{
			PodSandboxId: u.Pod.ID,
			Metrics:      metricValues(podMetrics, u, []string{u.Pod.ID, u.Pod.ID, "", c.Namespace, c.Name, "POD"}),
		}
		for i := range u.Containers {
			k := &u.Containers[i]
			id := k.Container.ID
			pod.ContainerMetrics = append(pod.ContainerMetrics, &runtimeapi.ContainerMetrics{
				ContainerId: id,
				Metrics: metricValues(containerMetrics, k,
					[]string{id, id, imageSpec(&k.Container).GetImage(), c.Namespace, c.Name, k.Container.Config.Name}),
			})
		}
		out = append(out, pod)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// metricValues are the values of all metrics of u; base are those of baseLabels.
func metricValues[U any](all []metric[U], u *U, base []string) []*runtimeapi.Metric {
	base = slices.Clip(base)
	out := make([]*runtimeapi.Metric, 0, len(all))
	for _, m := range all {
		m.values(u, func(value uint64, labels ...string) {
			out = append(out, &runtimeapi.Metric{
				Name: m.name, MetricType: m.kind, LabelValues: append(base, labels...), Value: number(value),
			})
		})
	}
	return out
}
