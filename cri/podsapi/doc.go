// Package podsapi asks a kubelet for the specs of its pods, over its Pods API: the gRPC
// service v1alpha1.Pods (k8s.io/kubelet/pkg/apis/pods), which kubelets serve from 1.37 on,
// on Windows at the named pipe \\.\pipe\kubelet-pods-api, on Linux at
// pods-api/pods-api.sock in their root folder.
//
// It only asks for single pods by uid. Each question is bounded in time; a kubelet that
// starts, restarts or limits its callers is asked again within that time. Answers are
// what the kubelet says: who takes a decision by one checks that it is of the right pod.
//
// A Client lives from New to Close and is safe for concurrent use.
package podsapi
