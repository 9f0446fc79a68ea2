// Command node is what `make node` runs: a Kubernetes cluster of one node on this machine
// with Porthole as its runtime, until it is interrupted. Its tests are `make test-node`:
// they drive real workloads through kubectl against such a cluster.
package main
