package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/porthole-run/porthole/test/node/cluster"
)

// TestNode_Rollout: a Service's clients, in a pod and on the host, notice nothing of a
// rolling update but the new version, and it can be taken back.
func TestNode_Rollout(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 20
      containers:
      - name: c
        image: IMAGE
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 5}
        lifecycle: {preStop: {sleep: {seconds: 4}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE}]
`)
	s.must("rollout", "status", "deployment/web", "--timeout="+patience.String())
	s.ready("client")
	ip := s.must("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
	port := s.must("get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
	page := "http://" + cluster.NodeIP + ":" + port
	s.eventually("the service answers", func() error {
		_, err := fetch(t.Context(), page)
		return err
	})
	t.Run("balanced", func(t *testing.T) {
		s, seen := s.in(t), map[string]bool{}
		s.eventually("both pods answer", func() error {
			name := s.must("exec", "client", "--", "/probe", "get", "http://"+ip+"/")
			seen[strings.TrimSpace(name)] = true
			if len(seen) < 2 {
				return fmt.Errorf("only %v", seen)
			}
			return nil
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	versions, failures := map[string]int{}, []error(nil)
	wg.Go(func() {
		for ctx.Err() == nil {
			v, err := fetch(ctx, page+"/env/VERSION")
			if err != nil && ctx.Err() == nil {
				failures = append(failures, err)
			}
			versions[v]++
			time.Sleep(50 * time.Millisecond)
		}
	})
	s.must("set", "image", "deployment/web", "c="+cluster.NextImage)
	s.must("rollout", "status", "deployment/web", "--timeout="+patience.String())
	// The rules of Services follow the pods a moment later; an old pod answers till then.
	s.eventually("only the new version answers", func() error {
		for range 10 {
			if got, err := fetch(ctx, page+"/env/VERSION"); err != nil || got != "2" {
				return fmt.Errorf("after the update the version is %q, %v, want 2", got, err)
			}
		}
		return nil
	})
	cancel()
	wg.Wait()
	t.Logf("answers by version during the update: %v", versions)
	if len(failures) > 0 || versions["1"] == 0 {
		t.Errorf("%d requests failed during the update, first: %v", len(failures), append(failures, nil)[0])
	}
	s.must("rollout", "undo", "deployment/web")
	s.must("rollout", "status", "deployment/web", "--timeout="+patience.String())
	s.eventually("the old version is back", func() error {
		if got, err := fetch(t.Context(), page+"/env/VERSION"); err != nil || got != "1" {
			return fmt.Errorf("version %q, %v", got, err)
		}
		return nil
	})
}
