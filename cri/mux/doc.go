// Package mux lets one CRI endpoint serve two runtimes: ours, for pods in VMs, and an
// upstream one such as containerd, for what a node runs beside them: on Windows the
// HostProcess pods of the network, the proxy and the storage. A kubelet has one runtime
// endpoint; this is it.
//
//	kubelet ─── Mux ─┬─ ours: a cri.Server, over a connection in memory
//	                 └─ upstream: a socket or a pipe
//
// A call goes where its pod or container is. The runtime handler of RunPodSandbox decides
// where a pod runs; ids are learned from answers and lists, and after a restart from a
// list that is asked for when an id is not known. Such calls are passed on as bytes, with
// their answers, errors and their details: what the other side understands and this
// build does not know gets through, and so do calls that this build has never heard of,
// which are upstream's. Lists, states, statistics, metrics, events and images are those
// of both, put together (merge.go, images.go). Methods of lists as streams are
// Unimplemented; a kubelet then asks for lists.
//
// When one side cannot be reached the other goes on. Pods and containers of the absent one
// stay in lists as they were seen last: a kubelet that does not see a pod makes it anew.
// Calls to them are Unavailable. Status has a condition for each side, and is ready as long
// as one is.
//
// Nothing is decided here about a request's content. A Mux lives from New to Close;
// Serve may be called for several listeners. All of it is safe for concurrent use.
package mux
