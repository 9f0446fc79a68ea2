package main

import "testing"

// TestNode_Streams: kubectl's exec, logs, attach, cp and port-forward reach a pod.
func TestNode_Streams(t *testing.T) {
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: c, image: IMAGE}]
`)
	s.ready("web")
	if got, host := s.exec("web", "uname -r"), kernel(t); got == host {
		t.Errorf("the pod's kernel is the host's, %q", got)
	}
	s.eventually("what the server says", s.is("serving, version 1", "logs", "web"))
}
