package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestNode_Config: ConfigMaps, Secrets and the downward API are in files and variables, and
// their files change with them while the pod runs.
func TestNode_Config(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: one, other: kept}
---
apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {password: first}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {color: red}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000}
  containers:
  - name: c
    image: IMAGE
    env:
    - {name: KEY, valueFrom: {configMapKeyRef: {name: settings, key: key}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: secret, key: password}}}
    - {name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: MINE, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: settings, mountPath: /single, subPath: key}
    - {name: secret, mountPath: /secret, readOnly: true}
    - {name: about, mountPath: /about}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: secret, secret: {secretName: secret, defaultMode: 0440}}
  - {name: about, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
`)
	s.ready("reader")
	p := s.pod("reader")
	read := func(line, want string) func() error {
		return func() error {
			got, err := s.try(t.Context(), "", "exec", "reader", "--", "sh", "-c", line)
			if err != nil || strings.TrimSpace(got) != want {
				return fmt.Errorf("%s: %q, %v, want %q", line, got, err, want)
			}
			return nil
		}
	}
	for line, want := range map[string]string{
		"echo $KEY $PASSWORD $WHERE $MINE":                                         "one first node1 " + p.Status.PodIP,
		"cat /settings/key /settings/other /single /secret/password | tr -d '\\n'": "onekeptonefirst",
		"cat /about/labels":                          `color="red"`,
		"stat -L -c '%a %g' /secret/password":        "440 2000",
		"touch /secret/x 2>/dev/null || echo no":     "no",
		"grep -c ' /secret fuse' /proc/mounts":       "1",
		"id -u; id -G | tr ' ' '\\n' | grep '^2000'": "1000\n2000",
	} {
		if err := read(line, want)(); err != nil {
			t.Error(err)
		}
	}
	s.must("patch", "configmap", "settings", "--type=merge", "-p", `{"data":{"key":"two","new":"yes"}}`)
	s.must("patch", "secret", "secret", "-p", `{"stringData":{"password":"second"}}`)
	s.must("label", "pod", "reader", "--overwrite", "color=blue")
	s.eventually("the config map's files", read("cat /settings/key /settings/new | tr -d '\\n'", "twoyes"))
	s.eventually("the secret's file", read("cat /secret/password", "second"))
	s.eventually("the labels' file", read("cat /about/labels", `color="blue"`))
	if err := read("cat /single", "one")(); err != nil {
		t.Error(err, "(a subPath keeps what it was)")
	}
	if restarts(s.pod("reader")) != 0 {
		t.Error("the container was restarted")
	}
}

// TestNode_Token: a pod's projected token is taken by the API server, for what its account
// may do and no more.
func TestNode_Token(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: IMAGE
    volumeMounts: [{name: token, mountPath: /token}]
  volumes:
  - name: token
    projected: {sources: [{serviceAccountToken: {path: other, audience: elsewhere, expirationSeconds: 600}}]}
`)
	s.ready("client")
	ask := func(token string) (string, error) {
		line := "/probe get -ca /var/run/secrets/kubernetes.io/serviceaccount/ca.crt -token " + token +
			" https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/" + s.name + "/pods/client"
		return s.try(t.Context(), "", "exec", "client", "--", "sh", "-c", line)
	}
	const own = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	if out, err := ask(own); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("without a role: %q, %v, want 403", out, err)
	}
	s.must("create", "rolebinding", "view", "--clusterrole=view", "--serviceaccount="+s.name+":default")
	s.eventually("the pod sees itself", func() error {
		out, err := ask(own)
		if err != nil || !strings.Contains(out, string(s.pod("client").UID)) {
			return fmt.Errorf("%q, %w", out, err)
		}
		return nil
	})
	if out, err := ask("/token/other"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a token for another audience: %q, %v, want 401", out, err)
	}
}
