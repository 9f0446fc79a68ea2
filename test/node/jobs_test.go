package main

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestNode_Jobs: a Job completes as often as it should, one whose pods fail ends as failed,
// with what they said last, and a CronJob makes Jobs.
func TestNode_Jobs(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: batch/v1
kind: CronJob
metadata: {name: minutely}
spec:
  schedule: "* * * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: IMAGE, command: [sh, -c, "date +%s"]}]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: three}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: IMAGE, command: [sh, -c, "echo index $JOB_COMPLETION_INDEX"]}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: fails}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: c, image: IMAGE, command: [sh, -c, "echo it broke > /dev/termination-log; exit 9"]}]}}
`)
	s.must("wait", "--for=condition=Complete", "--timeout="+patience.String(), "job/three")
	out := s.must("logs", "-l", "job-name=three", "--prefix=false")
	for i := range 3 {
		if want := fmt.Sprintf("index %d\n", i); !strings.Contains(out, want) {
			t.Errorf("the logs %q have no %q", out, want)
		}
	}
	s.must("wait", "--for=condition=Failed", "--timeout="+patience.String(), "job/fails")
	name := strings.TrimSpace(s.must("get", "pod", "-l", "job-name=fails", "-o", "jsonpath={.items[0].metadata.name}"))
	p := s.pod(name)
	ended := p.Status.ContainerStatuses[0].State.Terminated
	if p.Status.Phase != corev1.PodFailed || ended == nil || ended.ExitCode != 9 || strings.TrimSpace(ended.Message) != "it broke" {
		t.Errorf("the failed pod is %s with %+v, want exit code 9 and its message", p.Status.Phase, ended)
	}
	s.eventually("a Job of the CronJob succeeds", func() error {
		if s.must("get", "cronjob", "minutely", "-o", "jsonpath={.status.lastSuccessfulTime}") == "" {
			return fmt.Errorf("none yet")
		}
		return nil
	})
}

// TestNode_Termination: a pod that is deleted has its preStop hook run, then its processes
// are told, and who does not listen is killed when the time is over.
func TestNode_Termination(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	dir := t.TempDir()
	s.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: polite}
spec:
  terminationGracePeriodSeconds: 30
  volumes: [{name: v, hostPath: {path: %q}}]
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, "trap 'echo told >> /v/said; exit 0' TERM; echo up >> /v/said; while :; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo post >> /v/started"]}}
      preStop: {exec: {command: [sh, -c, "sleep 1; echo pre >> /v/said"]}}
    volumeMounts: [{name: v, mountPath: /v}]
---
apiVersion: v1
kind: Pod
metadata: {name: deaf}
spec:
  terminationGracePeriodSeconds: 3
  containers: [{name: c, image: IMAGE, command: [sh, -c, "trap '' TERM; echo up; while :; do sleep 1; done"]}]
`, dir))
	s.ready("polite", "deaf")
	s.eventually("the container runs", func() error { return fileIs(dir+"/said", "up\n") })
	took := timed(func() { s.must("delete", "pod", "polite", "--timeout="+patience.String()) })
	if err := fileIs(dir+"/said", "up\npre\ntold\n"); err != nil {
		t.Error(err)
	}
	if err := fileIs(dir+"/started", "post\n"); err != nil {
		t.Error(err)
	}
	if took.Seconds() > 25 {
		t.Errorf("a pod that ends when it is told took %s", took)
	}
	if took := timed(func() { s.must("delete", "pod", "deaf", "--timeout="+patience.String()) }); took.Seconds() < 3 {
		t.Errorf("a pod that does not listen was given %s, want the 3 s of its spec", took)
	}
}
