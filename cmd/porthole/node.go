package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	guestimage "github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/image"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/phase"
	"github.com/porthole-run/porthole/network"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/cgroup"
	"github.com/porthole-run/porthole/sandbox/ocispec"
	"github.com/porthole-run/porthole/sandbox/pool"
	"github.com/porthole-run/porthole/sandbox/qemuvm"
	"github.com/porthole-run/porthole/sandbox/shim"
	"github.com/porthole-run/porthole/sandbox/template"
)

// node is the domain: what the daemon's servers call.
type node struct {
	config  config.Config
	bundle  *guestimage.Bundle
	accel   qemuvm.Accel
	images  *image.Store
	network *network.Manager
	host    *hcnnet.Host // of the network; nil on Linux
	manager *sandbox.Manager
	cgroups *cgroup.FS // that VMs run in; nil: they stay in the daemon's

	spares  *pool.Pool // nil: there are none
	journal *phase.Journal
	traces  *otlp

	templates    *template.Keeper // nil: each VM boots
	templatesWhy string
}

// newNode makes the parts and takes over what an earlier daemon left. On error nothing
// is left open.
func newNode(ctx context.Context, c config.Config, log *slog.Logger, reg *prometheus.Registry) (_ *node, err error) {
	n := &node{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close(ctx))
		}
	}()
	if n.traces, err = newOTLP(ctx, c.Tracing, log); err != nil {
		return nil, err
	}
	n.journal = newJournal(reg, n.traces)
	if n.bundle, err = guestimage.Open(c.VM.Bundle); err != nil {
		return nil, err
	}
	if n.accel, err = accelerator(ctx, c, n.bundle, false, log); err != nil {
		return nil, err
	}
	imageMetrics, err := image.NewMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register image metrics: %w", err)
	}
	if n.images, err = openStore(c, log, imageMetrics); err != nil {
		return nil, err
	}
	if n.network, n.host, err = newNetwork(c, log); err != nil {
		return nil, err
	}
	if n.cgroups, err = openCgroups(c.VM.PodCgroup, log); err != nil {
		return nil, err
	}
	disks, err := newScratch(c, n.bundle.Manifest().Kernel.Quotas, log)
	if err != nil {
		return nil, err
	}
	launcher, err := n.launcher(ctx, disks, log)
	if err != nil {
		return nil, err
	}
	if n.spares, err = newPool(ctx, c, launcher, disks, n.vmFiles(), log); err != nil {
		return nil, err
	}
	manage := sandbox.Config{
		Root:     filepath.Join(c.Root, "sandboxes"),
		Launcher: launcher,
		Images:   rootFS{n.images},
		Network:  podNetwork{n.network},
		// A tap goes with its namespace, or before. What HNS makes of an endpoint that a VM
		// has still is not for us to find out.
		DetachEarly: n.host == nil,
		Specs:       ocispec.New(runtime.GOARCH),
		Scratch:     disks,
		Handlers:    handlers(c),
		Spares:      sparesOf(n.spares),
		Journal:     n.journal,
		Logger:      log,
		Timeouts:    sandbox.Timeouts{Launch: time.Duration(c.VM.StartTimeout)},
	}
	if n.cgroups != nil {
		manage.Cgroups, manage.CgroupsMust = n.cgroups, c.VM.PodCgroup == "on"
	}
	n.manager, err = sandbox.New(ctx, manage)
	if err != nil {
		return nil, err
	}
	live, err := launcher.List(ctx) // without those that are gone, which the manager has removed
	if err != nil {
		return nil, err
	}
	if err := endLeftovers(ctx, live, log); err != nil {
		// They take memory, and are tried again at the next start.
		log.Warn("end VMs that nobody has", logkey.Error, err)
	}
	registerCounts(reg, n.manager, n.accel.Accel)
	if n.host != nil {
		registerEndpoints(reg, n.host)
	}
	if n.templates != nil {
		registerTemplates(reg, n.templates)
		n.templates.Start(ctx)
	}
	if n.spares != nil {
		registerSpares(reg, n.spares)
		n.spares.Start(ctx)
	}
	return n, n.pruneNetworks(ctx, log)
}

// close lets go of what is open; pods go on.
func (n *node) close(ctx context.Context) error {
	var errs []error
	if n.spares != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sparesCloseTimeout)
		defer cancel()
		errs = append(errs, n.spares.Close(ctx))
	}
	if n.manager != nil {
		n.manager.Close()
	}
	if n.templates != nil {
		n.templates.Close()
	}
	n.traces.close(ctx)
	if n.images != nil {
		errs = append(errs, n.images.Close())
	}
	if n.host != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hostCloseTimeout)
		defer cancel()
		errs = append(errs, n.host.Close(ctx))
	}
	return errors.Join(errs...)
}

// sparesCloseTimeout bounds the end of the VMs that no pod has.
const sparesCloseTimeout = 20 * time.Second

// hostCloseTimeout bounds the wait for calls of the host's network service at the end.
const hostCloseTimeout = 5 * time.Second

// pruneNetworks frees the networks of pods that nobody knows any more: their records can
// be lost, while the network's are kept apart from them.
func (n *node) pruneNetworks(ctx context.Context, log *slog.Logger) error {
	pods, err := n.manager.Pods(ctx, sandbox.PodFilter{})
	if err != nil {
		return err
	}
	var ids []string
	for _, p := range pods {
		ids = append(ids, p.ID)
	}
	pruned, err := n.network.Prune(ctx, ids)
	if err != nil {
		// Plugins that fail now are asked again at the next start.
		log.Warn("prune networks of pods that are gone", logkey.Error, err)
	}
	for _, id := range pruned {
		log.Info("network of a pod that is gone was freed", logkey.PodID, id)
	}
	return nil
}

// launcher makes what starts VMs, and with it the keeper of templates when those are used.
func (n *node) launcher(ctx context.Context, disks sandbox.Scratch, log *slog.Logger) (*shim.Launcher, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	q := qemuConfig(n.config, commandLine(n.config.VM, n.bundle), log)
	q.Accel = n.accel.Accel
	settings, err := json.Marshal(driverSettings{
		Binary: q.Binary, Accel: q.Accel, UIDs: q.UIDs, GID: q.GID,
		CommandLine: q.CommandLine, StartTimeout: q.StartTimeout,
	})
	if err != nil {
		return nil, err
	}
	args := []string{"shim", "--locks", filepath.Join(n.config.State, "locks")}
	if n.cgroups != nil {
		home, err := n.cgroups.Home()
		if err != nil {
			return nil, err
		}
		args = append(args, "--home", strings.Join(home, string(filepath.ListSeparator)))
	}
	c := shim.LauncherConfig{
		StateDir:     filepath.Join(n.config.State, "vm"),
		Executable:   self,
		Args:         args,
		TemplateArgs: []string{"template"},
		DriverConfig: settings,
		Kernel:       n.bundle.Kernel(),
		Initrd:       n.bundle.Initrd(),
		StartTimeout: time.Duration(n.config.VM.StartTimeout),
		LogLevel:     slog.Level(n.config.Log.Level),
		Version:      version,
	}
	var use bool
	if use, n.templatesWhy = useTemplates(n.config.VM, q.Accel); !use {
		return shim.NewLauncher(c)
	}
	driver, err := qemuvm.New(q)
	if err != nil {
		return nil, err
	}
	facts, err := driver.TemplateFacts(ctx)
	if err != nil { // pods do without
		n.templatesWhy = "what they depend on is not known: " + err.Error()
		log.Warn("templates are not used", logkey.Error, err)
		return shim.NewLauncher(c)
	}
	var launcher *shim.Launcher
	var scratchBytes int64
	fill, ok := disks.(sandbox.ScratchFiller)
	if ok {
		scratchBytes = int64(n.config.VM.Scratch)
	}
	n.templates = template.New(template.Config{
		Classes: templateClasses(handlers(n.config)),
		Build: func(ctx context.Context, class template.Class, files template.Files) error {
			if files.Scratch != nil {
				if err := fill.Fill(ctx, files.Scratch); err != nil {
					log.WarnContext(ctx, "template has no scratch disk: pods' are attached", logkey.Error, err)
					if err := files.Scratch.Truncate(0); err != nil {
						return err
					}
				}
			}
			return launcher.MakeTemplate(ctx, class, files)
		},
		ScratchBytes: scratchBytes,
		Files:        []string{c.Kernel, c.Initrd, driver.Binary()},
		Facts:        facts,
		Log:          log,
	})
	c.Templates = n.templates
	launcher, err = shim.NewLauncher(c)
	return launcher, err
}

// templateClasses are the sizes that pods without limits get.
func templateClasses(handlers map[string]sandbox.Handler) []template.Class {
	var out []template.Class
	for _, h := range handlers {
		if h.Sharing != nil {
			continue // such VMs have more NICs than a template
		}
		out = append(out, template.Class{VCPUs: h.VCPUs, MemoryMiB: h.MemoryMiB})
	}
	return out
}

func newNetwork(c config.Config, log *slog.Logger) (*network.Manager, *hcnnet.Host, error) {
	host, err := networkHost(c, log)
	if err != nil {
		return nil, nil, err
	}
	nc := network.Config{
		ConfDir: c.Network.ConfDir, PluginDirs: c.Network.PluginDirs,
		CacheDir: filepath.Join(c.Root, "network"), StateDir: filepath.Join(c.State, "netns"),
		Logger: log,
	}
	if host != nil {
		nc.Host = host
	}
	m, err := network.New(nc)
	return m, host, err
}

// networkReady says what pods' networks lack, without a daemon.
func networkReady(ctx context.Context, c config.Config) error {
	m, _, err := newNetwork(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return m.Ready(ctx)
}

// handlers are the VM configurations by runtime handler.
func handlers(c config.Config) map[string]sandbox.Handler {
	out := map[string]sandbox.Handler{"": handler(c.VM)}
	for _, name := range handlerNames(c) {
		h := c.Handlers[name]
		to := handler(h.Over(c.VM))
		if s, ok := h.Sharing(); ok {
			to.Sharing = &sandbox.Sharing{Annotation: s.Annotation, Pods: int(s.Pods), Privileged: s.Privileged}
		}
		out[name] = to
	}
	return out
}

func handler(vm config.VM) sandbox.Handler {
	return sandbox.Handler{
		VCPUs: int(vm.VCPUs), MemoryMiB: vm.Memory.MiB(), OverheadMiB: vm.Overhead.MiB(),
		MaxVCPUs: int(vm.MaxVCPUs), MaxMemoryMiB: vm.MaxMemory.MiB(),
		ScratchBytes: int64(vm.Scratch), ShmBytes: uint64(vm.Shm),
		HostMiB: vm.HostOverhead.MiB(), VMNamespaces: vm.HostNamespaces == "vm",
	}
}

// handlerNames are the runtime handlers that pods may name.
func handlerNames(c config.Config) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.Handlers)) {
		if c.Handlers[name].Exists() {
			out = append(out, name)
		}
	}
	return out
}

// ready is nil when VMs can be started: the bundle may have gone since, and QEMU need not
// have been there.
func (n *node) ready(context.Context) error {
	if n.config.VM.Driver == "qemu" {
		if _, err := exec.LookPath(n.config.VM.QEMU); err != nil {
			return fmt.Errorf("QEMU cannot be started, see porthole doctor: %w", err)
		}
	}
	_, err := guestimage.Open(n.config.VM.Bundle)
	return err
}

// info is what a verbose Status shows.
func (n *node) info(context.Context) map[string]any {
	templates := map[string]any{"used": n.templates != nil, "reason": n.templatesWhy}
	if n.templates != nil {
		templates["status"] = n.templates.Status()
	}
	spares := map[string]any{"used": n.spares != nil}
	if n.spares != nil {
		spares["status"] = n.spares.Status()
	}
	return map[string]any{
		"spares":      spares,
		"config":      n.config,
		"accelerator": n.accel,
		"templates":   templates,
		"build":       build(),
		"guest":       n.bundle.Manifest().Kernel,
		"paths": map[string]string{
			"bundle": n.bundle.Dir(), "root": n.config.Root, "state": n.config.State,
		},
	}
}
