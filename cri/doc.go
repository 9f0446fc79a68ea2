// Package cri is the edge towards the kubelet and crictl: the gRPC services
// RuntimeService and ImageService of the Kubernetes CRI, version v1.
//
// CRI types live here and nowhere else. A verb is one file: it checks the request,
// converts it into plain types, calls the domain through the small interfaces of
// needs.go, and converts the answer back. Nothing is decided here about how pods
// run; what is decided here is what the CRI promises its callers: that to stop or
// remove what is gone is success, which gRPC code an error has, which fields are
// honoured, refused, or without meaning in a VM. That last list is docs/cri.md; a
// field that is not built yet is refused with Unimplemented and its name.
//
// A Server is made by NewServer and used by Serve, which returns when its context
// ends and the calls that run have been answered. Serve may be called for several
// listeners at once; all methods are safe for concurrent use.
package cri
