package cri

import (
	"context"
	"slices"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// ListMetricDescriptors names the metrics of ListPodSandboxMetrics. They never change.
func (s *Server) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	resp := &runtimeapi.ListMetricDescriptorsResponse{}
	for _, m := range containerMetrics {
		resp.Descriptors = append(resp.Descriptors, m.descriptor())
	}
	for _, m := range podMetrics {
		resp.Descriptors = append(resp.Descriptors, m.descriptor())
	}
	return resp, nil
}

// baseLabels are every metric's first labels, by cAdvisor's names.
var baseLabels = []string{"id", "name", "image", "namespace", "pod", "container"}

// metric is one metric of cAdvisor's. Values are whole numbers, as the CRI has it: what
// cAdvisor tells in fractions of seconds is cut to seconds.
type metric[U any] struct {
	name, help string
	kind       runtimeapi.MetricType
	labels     []string // besides baseLabels
	values     func(*U, *teller)
}

func (m metric[U]) descriptor() *runtimeapi.MetricDescriptor {
	return &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: slices.Concat(baseLabels, m.labels)}
}

func wholeSeconds(d time.Duration) uint64 { return uint64(d / time.Second) }

const (
	counter = runtimeapi.MetricType_COUNTER
	gauge   = runtimeapi.MetricType_GAUGE
)

// Metrics of parts of the figures: they have no value when the part is not there.

type containerMetric = metric[sandbox.ContainerUsage]

func ofCPU(name, help string, f func(*usage.CPU) uint64) containerMetric {
	return containerMetric{name, help, counter, nil, func(u *sandbox.ContainerUsage, tell *teller) {
		if g := u.Usage.Group; g != nil && g.CPU != nil {
			tell.value(f(g.CPU))
		}
	}}
}

func ofMemory(name, help string, kind runtimeapi.MetricType, f func(*usage.Memory) (uint64, bool)) containerMetric {
	return containerMetric{name, help, kind, nil, func(u *sandbox.ContainerUsage, tell *teller) {
		if g := u.Usage.Group; g != nil && g.Memory != nil {
			tell.valueIf(f(g.Memory))
		}
	}}
}

func ofDevices(name, help string, f func(usage.Device) uint64) containerMetric {
	return containerMetric{name, help, counter, []string{"device"}, func(u *sandbox.ContainerUsage, tell *teller) {
		eachDevice(u, tell, func(d usage.Device, device string) { tell.value(f(d), device) })
	}}
}

func eachDevice(u *sandbox.ContainerUsage, tell *teller, do func(d usage.Device, device string)) {
	g := u.Usage.Group
	if g == nil || g.IO == nil {
		return
	}
	for _, d := range g.IO.Devices {
		do(d, tell.device(d))
	}
}

func ofWritable(name, help string, f func(*usage.Writable) uint64) containerMetric {
	return containerMetric{name, help, gauge, []string{"device"}, func(u *sandbox.ContainerUsage, tell *teller) {
		if w := u.Usage.Writable; w != nil {
			tell.value(f(w), "") // a disk of the guest's, no device of the host's
		}
	}}
}

func ofTasks(name, help string, f func(*usage.Tasks) uint64) containerMetric {
	return containerMetric{name, help, gauge, nil, func(u *sandbox.ContainerUsage, tell *teller) {
		if g := u.Usage.Group; g != nil && g.Tasks != nil {
			tell.value(f(g.Tasks))
		}
	}}
}

func ofPressure(name, help string, f func(*usage.Group) *usage.Pressure, times func(*usage.Pressure) usage.PressureTimes) containerMetric {
	return containerMetric{name, help, counter, nil, func(u *sandbox.ContainerUsage, tell *teller) {
		if u.Usage.Group == nil {
			return
		}
		if p := f(u.Usage.Group); p != nil {
			tell.value(wholeSeconds(times(p).Total))
		}
	}}
}

func ofContainer(name, help string, f func(*sandbox.Container) (uint64, bool)) containerMetric {
	return containerMetric{name, help, gauge, nil, func(u *sandbox.ContainerUsage, tell *teller) { tell.valueIf(f(&u.Container)) }}
}

func ofOpenFiles(name, help string, f func(*usage.OpenFiles) uint64) containerMetric {
	return containerMetric{name, help, gauge, nil, func(u *sandbox.ContainerUsage, tell *teller) {
		if o := u.Usage.Open; o != nil {
			tell.value(f(o))
		}
	}}
}

type podMetric = metric[sandbox.PodUsage]

func ofInterfaces(name, help string, f func(usage.Interface) uint64) podMetric {
	return podMetric{name, help, counter, []string{"interface"}, func(u *sandbox.PodUsage, tell *teller) {
		for _, i := range u.Usage.Interfaces {
			tell.value(f(i), clean(i.Name, maxName))
		}
	}}
}
