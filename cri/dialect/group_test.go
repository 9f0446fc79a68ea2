package dialect

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestWithFSGroup: the spec decides, whatever the user has written into an annotation.
func TestWithFSGroup(t *testing.T) {
	pod := &corev1.Pod{}
	if got := withFSGroup(map[string]string{FSGroup: "7"}, pod); len(got) != 0 {
		t.Errorf("a pod without a group = %v", got)
	}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr(int64(2000))}
	for _, before := range []map[string]string{nil, {FSGroup: "0", "a": "b"}} {
		n := len(before)
		got := withFSGroup(before, pod)
		if got[FSGroup] != "2000" || len(got) != max(n, 1) {
			t.Errorf("of %v = %v", before, got)
		}
	}
}
