package cri

import (
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/porthole-run/porthole/internal/usage"
	"github.com/porthole-run/porthole/sandbox"
)

// teller encodes the values of metrics, for one call: as PodSandboxMetrics of the CRI,
// without these being made. Most of each is what is the same in all calls (its name) or
// for all metrics of a container (the first labels), which is encoded once.
type teller struct {
	b    []byte
	head []byte // the metric's name and type
	base []byte // values of baseLabels

	devices map[deviceKey]string // names that were made
}

// deviceKey is what a device's name depends on.
type deviceKey struct {
	name         string
	major, minor uint32
}

// device names a block device of a guest. The names of many guests are the same.
func (t *teller) device(d usage.Device) string {
	key := deviceKey{name: d.Name}
	if d.Name == "" {
		key.major, key.minor = d.Major, d.Minor
	}
	name, ok := t.devices[key]
	if !ok {
		name = strconv.FormatUint(uint64(d.Major), 10) + ":" + strconv.FormatUint(uint64(d.Minor), 10)
		if d.Name != "" {
			name = "/dev/" + clean(d.Name, maxName)
		}
		if t.devices == nil {
			t.devices = map[deviceKey]string{}
		}
		t.devices[key] = name
	}
	return name
}

// listOfMetrics is the field that metrics are in, of pods and of containers.
const listOfMetrics = 2

// value takes one value of a metric with those of metric.labels.
func (t *teller) value(value uint64, labels ...string) {
	number := numberSize(value)
	n := len(t.head) + len(t.base) + 2 + number
	for _, l := range labels {
		n += 1 + protowire.SizeBytes(len(l))
	}
	b := protowire.AppendTag(t.b, listOfMetrics, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(n))
	b = append(append(b, t.head...), t.base...)
	for _, l := range labels {
		b = protowire.AppendString(protowire.AppendTag(b, 4, protowire.BytesType), l)
	}
	t.b = appendNumber(b, 5, value)
}

// valueIf takes a value that may be not there.
func (t *teller) valueIf(value uint64, there bool) {
	if there {
		t.value(value)
	}
}

// labels sets the values of baseLabels.
func (t *teller) labels(values ...string) {
	t.base = t.base[:0]
	for _, v := range values {
		t.base = appendElement(t.base, 4, v)
	}
}

// pod appends a PodSandboxMetrics.
func (t *teller) pod(b []byte, num protowire.Number, u *sandbox.PodUsage) []byte {
	b, at := begin(b, num, large)
	t.b = appendText(b, 1, u.Pod.ID)
	c := &u.Pod.Config
	t.labels(u.Pod.ID, u.Pod.ID, "", c.Namespace, c.Name, "POD")
	tellAll(t, podMetrics, podHeads, u)
	for i := range u.Containers {
		k := &u.Containers[i]
		id := k.Container.ID
		var from int
		b, from = begin(t.b, 3, large)
		t.b = appendText(b, 1, id)
		t.labels(id, id, imageName(&k.Container), c.Namespace, c.Name, k.Container.Config.Name)
		tellAll(t, containerMetrics, containerHeads, k)
		t.b = end(t.b, from, large)
	}
	b, t.b = t.b, nil
	return end(b, at, large)
}

func tellAll[U any](t *teller, all []metric[U], heads [][]byte, u *U) {
	for i := range all {
		t.head = heads[i]
		all[i].values(u, t)
	}
}

// What is the same in all values of a metric, by metric.
var (
	podHeads       = headsOf(podMetrics)
	containerHeads = headsOf(containerMetrics)
)

func headsOf[U any](all []metric[U]) (heads [][]byte) {
	for _, m := range all {
		heads = append(heads, appendVarint(appendText(nil, 1, m.name), 3, uint64(m.kind)))
	}
	return heads
}
