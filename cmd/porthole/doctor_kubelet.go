package main

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cri/mux"
	"github.com/porthole-run/porthole/cri/podsapi"
)

// checkKubelet looks at what the configuration says there is beside the daemon: a
// kubelet that tells specs, another runtime. Neither has to be up yet, so that neither is
// missing.
func checkKubelet(ctx context.Context, c config.Config) []finding {
	var out []finding
	if dialectOn(c) {
		out = append(out, checkPodsAPI(ctx, c))
	}
	if c.Upstream.Endpoint != "" {
		out = append(out, checkUpstream(ctx, c))
	}
	return out
}

// checkPodsAPI asks for a pod that cannot be: a kubelet that says so is there.
func checkPodsAPI(ctx context.Context, c config.Config) finding {
	f := finding{Name: "pods api", Detail: c.Kubelet.PodsAPI}
	pods, err := podsapi.New(podsapi.Config{Endpoint: c.Kubelet.PodsAPI, Timeout: min(time.Duration(c.Kubelet.PodsAPITimeout), 2*time.Second)})
	if err == nil {
		_, err = pods.Pod(ctx, "porthole-doctor")
		_ = pods.Close()
	}
	if errdefs.IsNotFound(err) {
		f.OK, f.Detail = true, "the kubelet answers at "+c.Kubelet.PodsAPI
		return f
	}
	f.Detail = fmt.Sprintf("%v: pods are refused meanwhile (windows_kubelet.without_spec is %q)", err, c.Kubelet.WithoutSpec)
	f.Fix = "run a kubelet of 1.37 or later, with the feature gate PodsAPI"
	return f
}

func checkUpstream(ctx context.Context, c config.Config) finding {
	f := finding{Name: "upstream", Detail: c.Upstream.Endpoint}
	ctx, cancel := context.WithTimeout(ctx, min(time.Duration(c.Upstream.Timeout), 2*time.Second))
	defer cancel()
	who, err := mux.Ask(ctx, c.Upstream.Endpoint)
	if err != nil {
		f.Detail, f.Fix = err.Error()+": its pods cannot be run meanwhile", "start it, or set upstream.endpoint"
		return f
	}
	f.OK, f.Detail = true, who+" at "+c.Upstream.Endpoint
	return f
}
