package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// patience is how long anything may take: a loaded machine boots VMs slowly.
const patience = 3 * time.Minute

// space is a namespace of the cluster, of one test.
type space struct {
	*testing.T
	name string
}

// newSpace makes a test's namespace. What is in it goes when the test ends.
func newSpace(t *testing.T) *space {
	t.Helper()
	begin(t)
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(t.Name(), "TestNode_")))
	s := &space{t, name}
	s.must("create", "namespace", name)
	t.Cleanup(func() {
		if t.Failed() {
			for _, args := range [][]string{{"get", "pods", "-o", "wide"}, {"describe", "pods"}, {"get", "events"}} {
				out, err := s.try(context.Background(), "", args...)
				t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
		// Without waiting: the next test need not.
		if out, err := s.try(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
			t.Errorf("delete namespace: %v: %s", err, out)
		}
	})
	// Pods are refused until the account that they run as is there.
	s.eventually("the account of the namespace", func() error {
		_, err := s.try(t.Context(), "", "get", "serviceaccount", "default")
		return err
	})
	return s
}

// in is the namespace for a sub-test.
func (s *space) in(t *testing.T) *space { return &space{t, s.name} }

// try runs kubectl in the namespace and returns all that it prints.
func (s *space) try(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := k.Kubectl(ctx, append([]string{"-n", s.name}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, msg.String())
	}
	return out.String(), nil
}

// must runs kubectl, which has to succeed.
func (s *space) must(args ...string) string {
	s.Helper()
	out, err := s.try(s.Context(), "", args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// apply makes what a manifest says. IMAGE and NEXT in it stand for the images.
func (s *space) apply(manifest string) {
	s.Helper()
	if out, err := s.try(s.Context(), filled(manifest), "apply", "-f", "-"); err != nil {
		s.Fatalf("%v\n%s", err, out)
	}
}

// exec runs a shell's line in a pod, which has to succeed.
func (s *space) exec(pod, line string) string {
	s.Helper()
	return s.must("exec", pod, "--", "sh", "-c", line)
}

// eventually waits until a check finds nothing wrong.
func (s *space) eventually(what string, check func() error) {
	s.Helper()
	s.within(patience, what, check)
}

func (s *space) within(limit time.Duration, what string, check func() error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), limit)
	defer cancel()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			s.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-tick.C:
		}
	}
}

// is checks that kubectl prints what is wanted.
func (s *space) is(want string, args ...string) func() error {
	return func() error {
		out, err := s.try(s.Context(), "", args...)
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(out); got != want {
			return fmt.Errorf("kubectl %s = %q, want %q", strings.Join(args, " "), got, want)
		}
		return nil
	}
}

// ready waits until a pod is.
func (s *space) ready(pods ...string) {
	s.Helper()
	for _, p := range pods {
		s.must("wait", "--for=condition=Ready", "--timeout="+patience.String(), "pod/"+p)
	}
}

// pod asks for a pod.
func (s *space) pod(name string) *corev1.Pod {
	s.Helper()
	var p corev1.Pod
	if err := json.Unmarshal([]byte(s.must("get", "pod", name, "-o", "json")), &p); err != nil {
		s.Fatal(err)
	}
	return &p
}
