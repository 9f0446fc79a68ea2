// Package cluster starts a Kubernetes cluster of one node on this machine, whose runtime
// is Porthole: etcd, the control plane, kube-proxy and a kubelet, from built programs, with
// a registry on loopback that serves images made from Debian packages. It is for `make
// node` and its tests: everything is reached without TLS or by tokens that are no secret.
//
// A cluster needs network, mount and PID namespaces of its own, which scripts/netns.sh
// makes: it takes addresses, ports and firewall rules for itself. A Cluster is made by
// Start and runs until Stop. Kubectl may be called by many at once; the rest is for one
// caller at a time.
package cluster
