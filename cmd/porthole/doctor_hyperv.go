package main

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/winhost"
	"github.com/porthole-run/porthole/cmd/porthole/writers"
)

// places are what of the configuration a Windows host is looked at for.
func places(c config.Config) winhost.Places {
	p := winhost.Places{Dirs: []string{c.Root, c.State}}
	if e := c.GRPC.Endpoint(); e.Kind == config.Pipe {
		p.Pipe = e.Address
	}
	return p
}

// examineWindows is what doctor says of a host that runs VMs with Hyper-V: of the host, then of
// what belongs to the configuration.
func examineWindows(ctx context.Context, c config.Config, facts winhost.Facts) []finding {
	var out []finding
	for _, f := range winhost.Check(facts) {
		out = append(out, finding(f))
	}
	_, bundle := checkBundle(c)
	if !bundle.OK {
		bundle.Fix = "unpack the release again and run install.ps1, or set vm.bundle"
	}
	out = append(out, bundle, checkConf(ctx, c))
	out = append(out, checkWriters(c, writers.Look)...)
	return append(out, checkKubelet(ctx, c)...)
}

// checkConf looks for a CNI configuration whose plugins are there.
func checkConf(ctx context.Context, c config.Config) finding {
	f := finding{Name: "cni conf", Needed: true, OK: true, Detail: c.Network.ConfDir}
	if err := networkReady(ctx, c); err != nil {
		f.OK, f.Detail = false, err.Error()
		f.Fix = "put the node's CNI configuration into " + filepath.FromSlash(c.Network.ConfDir) +
			" and its plugins into " + strings.Join(c.Network.PluginDirs, ", ") + ": the network agent of the cluster installs both"
	}
	return f
}
