package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// StartKubelet starts the node's kubelet.
func (c *Cluster) StartKubelet(context.Context) error {
	config := fmt.Sprintf(kubeletText, "unix://"+c.Runtime.Socket, "/"+c.config.Name, c.path("podlogs"), NodeIP)
	if c.Gates != "" {
		config += "featureGates: {" + c.Gates + "}\n"
	}
	path := c.path("etc", "kubelet.yaml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return err
	}
	var err error
	c.kubelet, err = c.start("kubelet", "--config="+path, "--kubeconfig="+c.kubeconfig(Node), "--hostname-override="+Node,
		"--node-ip="+NodeIP, "--root-dir="+c.path("kubelet"), "--cert-dir="+c.path("pki", "kubelet"), "-v=2")
	return err
}

// KillKubelet ends the kubelet as a crash would.
func (c *Cluster) KillKubelet() error { return c.kubelet.kill() }

// kubeletText is the kubelet's configuration. What its defaults do for a large cluster's
// sake is quicker here; no garbage collection of images comes in between.
const kubeletText = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: %q
cgroupDriver: cgroupfs
cgroupRoot: %q
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failCgroupV1: false
failSwapOn: false
podLogsDir: %q
address: %s
port: 10250
readOnlyPort: 0
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: ""
serializeImagePulls: false
syncFrequency: 5s
volumeStatsAggPeriod: 10s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
`

// awaitNode waits until the node can take pods.
func (c *Cluster) awaitNode(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return c.kubelet.await(ctx, func(ctx context.Context) error { return c.ready(ctx, Node) })
}

// ready says why a node is not, or that nothing can be put on it.
func (c *Cluster) ready(ctx context.Context, node string) error {
	out, err := c.Kubectl(ctx, "get", "node", node, "-o",
		`jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message} {.spec.taints}`).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if text := string(out); !strings.HasPrefix(text, "True") || strings.Contains(text, "not-ready") {
		return errors.New(text)
	}
	return nil
}

// KubeletRoot is the folder of the node's kubelet, with the pods' volumes.
func (c *Cluster) KubeletRoot() string { return c.path("kubelet") }
