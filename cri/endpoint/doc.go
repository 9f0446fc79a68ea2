// Package endpoint connects to gRPC servers of this host by the endpoints that the kubelet
// and its kin write: unix:///run/x.sock and npipe:////./pipe/x. Nothing that leaves the
// host can be written so.
package endpoint
