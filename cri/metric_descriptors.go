package cri

import (
	"context"
	"slices"
	"strconv"
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
	values     func(U) []sample
}

// sample is one value with those of metric.labels.
type sample struct {
	value  uint64
	labels []string
}

func (m metric[U]) descriptor() *runtimeapi.MetricDescriptor {
	return &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: slices.Concat(baseLabels, m.labels)}
}

func one(n uint64) []sample { return []sample{{value: n}} }

func some(n *uint64) []sample {
	if n == nil {
		return nil
	}
	return one(*n)
}

func wholeSeconds(d time.Duration) uint64 { return uint64(d / time.Second) }

const (
	counter = runtimeapi.MetricType_COUNTER
	gauge   = runtimeapi.MetricType_GAUGE
)

// Metrics of parts of the figures: they have no value when the part is not there.

type containerMetric = metric[sandbox.ContainerUsage]

func ofCPU(name, help string, f func(*usage.CPU) uint64) containerMetric {
	return containerMetric{name, help, counter, nil, func(u sandbox.ContainerUsage) []sample {
		if g := u.Usage.Group; g != nil && g.CPU != nil {
			return one(f(g.CPU))
		}
		return nil
	}}
}

func ofMemory(name, help string, kind runtimeapi.MetricType, f func(*usage.Memory) *uint64) containerMetric {
	return containerMetric{name, help, kind, nil, func(u sandbox.ContainerUsage) []sample {
		if g := u.Usage.Group; g != nil && g.Memory != nil {
			return some(f(g.Memory))
		}
		return nil
	}}
}

func ofDevices(name, help string, f func(usage.Device) uint64) containerMetric {
	return containerMetric{name, help, counter, []string{"device"}, func(u sandbox.ContainerUsage) []sample {
		return eachDevice(u, func(d usage.Device, device string) []sample {
			return []sample{{f(d), []string{device}}}
		})
	}}
}

func eachDevice(u sandbox.ContainerUsage, f func(d usage.Device, device string) []sample) []sample {
	g := u.Usage.Group
	if g == nil || g.IO == nil {
		return nil
	}
	var out []sample
	for _, d := range g.IO.Devices {
		name := strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
		if d.Name != "" {
			name = "/dev/" + clean(d.Name, maxName)
		}
		out = append(out, f(d, name)...)
	}
	return out
}

func ofWritable(name, help string, f func(*usage.Writable) uint64) containerMetric {
	return containerMetric{name, help, gauge, []string{"device"}, func(u sandbox.ContainerUsage) []sample {
		if w := u.Usage.Writable; w != nil {
			return []sample{{f(w), []string{""}}} // a disk of the guest's, no device of the host's
		}
		return nil
	}}
}

func ofTasks(name, help string, f func(*usage.Tasks) uint64) containerMetric {
	return containerMetric{name, help, gauge, nil, func(u sandbox.ContainerUsage) []sample {
		if g := u.Usage.Group; g != nil && g.Tasks != nil {
			return one(f(g.Tasks))
		}
		return nil
	}}
}

func ofPressure(name, help string, f func(*usage.Group) *usage.Pressure, times func(*usage.Pressure) usage.PressureTimes) containerMetric {
	return containerMetric{name, help, counter, nil, func(u sandbox.ContainerUsage) []sample {
		g := u.Usage.Group
		if g == nil {
			return nil
		}
		if p := f(g); p != nil {
			return one(wholeSeconds(times(p).Total))
		}
		return nil
	}}
}

func ofContainer(name, help string, f func(sandbox.Container) *uint64) containerMetric {
	return containerMetric{name, help, gauge, nil, func(u sandbox.ContainerUsage) []sample { return some(f(u.Container)) }}
}

func ofOpenFiles(name, help string, f func(*usage.OpenFiles) uint64) containerMetric {
	return containerMetric{name, help, gauge, nil, func(u sandbox.ContainerUsage) []sample {
		if o := u.Usage.Open; o != nil {
			return one(f(o))
		}
		return nil
	}}
}

type podMetric = metric[sandbox.PodUsage]

func ofInterfaces(name, help string, f func(usage.Interface) uint64) podMetric {
	return podMetric{name, help, counter, []string{"interface"}, func(u sandbox.PodUsage) []sample {
		var out []sample
		for _, i := range u.Usage.Interfaces {
			out = append(out, sample{f(i), []string{clean(i.Name, maxName)}})
		}
		return out
	}}
}
