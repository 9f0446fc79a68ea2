package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/image/layer"
	"github.com/porthole-run/porthole/internal/procmem"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/ocispec"
	"github.com/porthole-run/porthole/sandbox/pool"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
)

// leastFreeMiB is how much memory the host must have left for spares to be kept: what a
// few pods without limits take.
const leastFreeMiB = 1024

// newPool makes the pool of spare VMs, which are made from the files; nil when there are to be
// none.
func newPool(ctx context.Context, c config.Config, l sandbox.Launcher, disks sandbox.Scratch, files []string, log *slog.Logger) (*pool.Pool, error) {
	auto, fixed := c.VM.SpareCount()
	if !auto && fixed == 0 {
		return nil, nil
	}
	w, err := newWarmer(ctx, filepath.Join(c.Root, "spares"), disks, int64(c.VM.Scratch)+warmMore)
	if err != nil {
		return nil, err
	}
	h := handler(c.VM)
	return pool.New(pool.Config{
		Launcher: l, Class: pool.Class{VCPUs: h.VCPUs, MemoryMiB: h.MemoryMiB}, Fixed: fixed, Max: max(fixed, maxSpares),
		BudgetMiB: c.VM.SpareMemory.MiB(), LeastMiB: leastFreeMiB,
		FreeMiB: func() (uint64, error) { n, err := procmem.Available(); return n >> 20, err },
		WarmUp:  w.WarmUp, Files: files, Log: log,
	}), nil
}

// vmFiles are the paths of what VMs are made from.
func (n *node) vmFiles() []string {
	files := []string{n.bundle.Kernel(), n.bundle.Initrd()}
	if n.config.VM.Driver != hcsDriver {
		files = append(files, cmp.Or(n.config.VM.QEMU, qemuvm.DefaultBinary))
	}
	return files
}

// warmMore is by how many bytes the disk of a warm-up is larger than pods': it is not one that
// a template has mounted, which is for the pod that comes.
const warmMore = 1 << 20

// sparesOf is the pool as the Manager wants it.
func sparesOf(p *pool.Pool) sandbox.Spares {
	if p == nil {
		return nil
	}
	return p
}

// maxSpares bounds the spares that demand alone asks for.
const maxSpares = 8

// newWarmer makes dir anew with what warm-ups need: an empty layer, and room for their
// scratch disks.
func newWarmer(ctx context.Context, dir string, disks sandbox.Scratch, scratchBytes int64) (pool.Warmer, error) {
	none := pool.Warmer{}
	// What an earlier daemon was doing when it ended.
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o711)); err != nil {
		return none, fmt.Errorf("make folder of spares: %w", err)
	}
	path := filepath.Join(dir, "layer.vhd")
	if err := writeEmptyLayer(ctx, path); err != nil {
		return none, fmt.Errorf("make layer of spares: %w", err)
	}
	spec, err := warmSpec(ctx)
	if err != nil {
		return none, fmt.Errorf("make spec of spares: %w", err)
	}
	return pool.Warmer{
		Scratch: disks, ScratchPath: func(id string) string { return filepath.Join(dir, id+".scratch") },
		ScratchBytes: scratchBytes, Layer: sandbox.Layer{DiffID: "sha256:warm-up", Path: path},
		Spec: spec, ExecArgs: []string{warmCrun, "--version"},
	}, nil
}

// The programs of the warm-up container are the guest's own.
const (
	warmPause = "/warm/pause"
	warmCrun  = "/warm/crun"
)

// warmSpec is the spec that most containers get, with programs of the guest.
func warmSpec(ctx context.Context) ([]byte, error) {
	s, _, err := ocispec.New(runtime.GOARCH).Spec(ctx, sandbox.PodConfig{Name: "warm"},
		sandbox.ContainerConfig{Name: "warm", Command: []string{warmPause}}, sandbox.ImageConfig{})
	if err != nil {
		return nil, err
	}
	for target, source := range map[string]string{warmPause: "/bin/pause", warmCrun: "/bin/crun"} {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"bind", "ro"}})
	}
	return json.Marshal(s)
}

// writeEmptyLayer makes a layer that has the folders that every container gets.
func writeEmptyLayer(ctx context.Context, path string) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"dev/", "etc/", "proc/", "sys/", "warm/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = layer.Convert(ctx, func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, f, layer.Options{})
	return errors.Join(err, f.Chmod(0o444), f.Close())
}

// registerSpares adds how many spare VMs there are, and how pods fared.
func registerSpares(reg *prometheus.Registry, p *pool.Pool) {
	reg.MustRegister(&spares{
		p:     p,
		ready: prometheus.NewDesc("porthole_spare_vms", "VMs that are ready and belong to no pod.", nil, nil),
		takes: prometheus.NewDesc("porthole_spare_takes_total", "Pods by whether there was a spare VM for them.", []string{"result"}, nil),
		made:  prometheus.NewDesc("porthole_spare_makes_total", "Spare VMs that were made, by result.", []string{"result"}, nil),
		ended: prometheus.NewDesc("porthole_spare_ends_total", "Spare VMs that ended before a pod took them.", nil, nil),
	})
}

type spares struct {
	p                         *pool.Pool
	ready, takes, made, ended *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (s *spares) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.ready, s.takes, s.made, s.ended} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *spares) Collect(ch chan<- prometheus.Metric) {
	st := s.p.Status()
	ch <- prometheus.MustNewConstMetric(s.ready, prometheus.GaugeValue, float64(st.Spares))
	ch <- prometheus.MustNewConstMetric(s.takes, prometheus.CounterValue, float64(st.Counts.Hits), "hit")
	ch <- prometheus.MustNewConstMetric(s.takes, prometheus.CounterValue, float64(st.Counts.Misses), "miss")
	ch <- prometheus.MustNewConstMetric(s.made, prometheus.CounterValue, float64(st.Counts.Made), "ok")
	ch <- prometheus.MustNewConstMetric(s.made, prometheus.CounterValue, float64(st.Counts.Failed), "failed")
	ch <- prometheus.MustNewConstMetric(s.ended, prometheus.CounterValue, float64(st.Counts.Ended))
}
