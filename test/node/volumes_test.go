package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/porthole-run/porthole/test/node/cluster"
)

// TestNode_Volumes: emptyDir on disk and in memory, and folders of the host, are shared by
// a pod's containers, with the host, and go or stay as they should.
func TestNode_Volumes(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: IMAGE
    volumeMounts: &mounts
    - {name: disk, mountPath: /disk}
    - {name: memory, mountPath: /memory}
    - {name: host, mountPath: /host}
    - {name: disk, mountPath: /part, subPath: sub/folder}
  - name: b
    image: IMAGE
    command: [sleep, "3600"]
    volumeMounts: *mounts
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
  - {name: host, hostPath: {path: %q, type: Directory}}
`, dir))
	s.ready("two")
	run := func(container, line string) string {
		t.Helper()
		return strings.TrimSpace(s.must("exec", "two", "-c", container, "--", "sh", "-c", line))
	}
	run("a", "echo 1 > /disk/x; echo 2 > /memory/x; echo 3 > /host/x; echo 4 > /part/x")
	if got := run("b", "cat /disk/x /memory/x /host/x /disk/sub/folder/x /host/there | tr '\\n' ' '"); got != "1 2 3 4 from the host" {
		t.Errorf("the other container reads %q", got)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(got) != "3\n" {
		t.Errorf("the host reads %q, %v", got, err)
	}
	if out, err := s.try(t.Context(), "", "exec", "two", "-c", "a", "--", "dd", "if=/dev/zero", "of=/memory/big", "bs=1M", "count=32"); err == nil {
		t.Errorf("32 MiB fit into an emptyDir of 16 MiB in memory: %s", out)
	}
	// It is the pod's, not the container's.
	run("b", "rm -f /memory/big; kill 1 2>/dev/null; true")
	s.must("exec", "two", "-c", "a", "--", "kill", "1")
	s.eventually("the container is restarted", func() error {
		if p := s.pod("two"); restarts(p) == 0 || !p.Status.ContainerStatuses[0].Ready {
			return fmt.Errorf("%d restarts", restarts(p))
		}
		return nil
	})
	if got := run("a", "cat /disk/x /memory/x | tr '\\n' ' '"); got != "1 2" {
		t.Errorf("after a restart the volumes have %q", got)
	}
	uid := string(s.pod("two").UID)
	s.must("delete", "pod", "two", "--timeout="+patience.String())
	s.eventually("the pod's folder is gone", func() error {
		if left, err := filepath.Glob(filepath.Join(k.KubeletRoot(), "pods", uid, "volumes", "*")); err != nil || len(left) > 0 {
			return fmt.Errorf("%v, %v", left, err)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(dir, "x")); err != nil {
		t.Errorf("the host's folder lost its file: %v", err)
	}
}

// TestNode_StatefulSet: pods of a StatefulSet have local volumes of their own, and find
// them again when they are made anew.
func TestNode_StatefulSet(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	dir := t.TempDir()
	manifest := `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
`
	for _, n := range []string{"0", "1"} {
		path := filepath.Join(dir, n)
		if err := os.Mkdir(path, 0o777); err != nil {
			t.Fatal(err)
		}
		manifest += fmt.Sprintf(`---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-%s}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: local
  persistentVolumeReclaimPolicy: Retain
  local: {path: %q}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`, n, path, cluster.Node)
	}
	s.apply(manifest + `---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: c
        image: IMAGE
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: local, resources: {requests: {storage: 1Gi}}}
`)
	s.must("rollout", "status", "statefulset/db", "--timeout="+patience.String())
	for _, p := range []string{"db-0", "db-1"} {
		s.exec(p, "hostname > /data/owner; sync")
	}
	before := s.pod("db-1").UID
	s.must("delete", "pod", "db-1", "--timeout="+patience.String())
	s.eventually("db-1 is there anew", func() error {
		if out := s.must("get", "pod", "db-1", "--ignore-not-found", "-o", "jsonpath={.metadata.uid}"); out == "" || out == string(before) {
			return fmt.Errorf("its uid is %q", out)
		}
		return nil
	})
	s.ready("db-1")
	for _, p := range []string{"db-0", "db-1"} {
		if got := strings.TrimSpace(s.exec(p, "cat /data/owner")); got != p {
			t.Errorf("the volume of %s is of %q", p, got)
		}
	}
	s.must("scale", "statefulset/db", "--replicas=0")
	s.must("wait", "--for=delete", "pod/db-0", "pod/db-1", "--timeout="+patience.String())
	var owners []string
	for _, n := range []string{"0", "1"} {
		b, err := os.ReadFile(filepath.Join(dir, n, "owner"))
		if err != nil {
			t.Error(err)
		}
		owners = append(owners, strings.TrimSpace(string(b)))
	}
	if owners[0] == owners[1] {
		t.Errorf("both volumes are of %v", owners)
	}
}
