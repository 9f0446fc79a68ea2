package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// stateField matches a record's own state; configs have no field of that name.
var stateField = regexp.MustCompile(`(?m)^\t"state": "[a-z]+"`)

func setStored(t *testing.T, path, state string) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	if !stateField.Match(data) {
		t.Fatalf("%s has no state", path)
	}
	must(t, os.WriteFile(path, stateField.ReplaceAll(data, []byte("\t\"state\": \""+state+"\"")), 0o600))
}

func podRecordPath(root, pod string) string { return filepath.Join(root, pod, "pod.json") }

func containerRecordPath(root, pod, c string) string {
	return filepath.Join(root, pod, c+".container.json")
}

// TestRecover is the table in recover.go.
func TestRecover(t *testing.T) {
	const gone = "gone"
	for _, tt := range []struct {
		pod, container string // stored
		up             bool
		wantPod        string
		wantContainer  string
	}{
		{"making", "", true, gone, ""},
		{"making", "", false, gone, ""},
		{"ready", "creating", true, "ready", gone},
		{"ready", "created", true, "ready", "created"},
		{"ready", "running", true, "ready", "running"},
		{"ready", "lost", true, "ready", "running"},
		{"ready", "exited", true, "ready", "exited"},
		{"ready", "removing", true, "ready", gone},
		{"ready", "creating", false, "not-ready", gone},
		{"ready", "created", false, "not-ready", "exited"},
		{"ready", "running", false, "not-ready", "exited"},
		{"ready", "removing", false, "not-ready", gone},
		{"lost", "running", true, "not-ready", "exited"},
		{"lost", "running", false, "not-ready", "exited"},
		{"stopping", "running", true, "not-ready", "exited"},
		{"stopping", "exited", false, "not-ready", "exited"},
		{"stopped", "exited", false, "not-ready", "exited"},
		{"stopped", "running", false, "not-ready", "exited"},
		{"stopped", "removing", false, "not-ready", gone},
		{"removing", "exited", false, gone, ""},
		{"removing", "running", false, gone, ""},
	} {
		name := fmt.Sprintf("%s-%s-%v", tt.pod, tt.container, tt.up)
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				n := sandboxtest.New()
				m := open(t, n, root)
				pod := mustRun(t, m, podConfig("p"))
				var c string
				if tt.container != "" {
					c = mustCreate(t, m, pod, containerConfig("c"))
					if tt.container == "running" || tt.container == "lost" {
						must(t, m.StartContainer(t.Context(), c))
					}
				}
				if tt.pod == "stopped" || tt.pod == "removing" {
					must(t, m.StopPod(t.Context(), pod)) // what these hold is given back
				}
				m.Close()
				setStored(t, podRecordPath(root, pod), tt.pod)
				if c != "" {
					setStored(t, containerRecordPath(root, pod, c), tt.container)
				}
				if !tt.up {
					n.Reboot()
				}

				m = open(t, n, root)
				defer m.Close()
				gotPod, gotC := gone, gone
				if p, err := m.Pod(t.Context(), pod); err == nil {
					gotPod = string(p.State)
				}
				if c == "" {
					gotC = ""
				} else if c, err := m.Container(t.Context(), c); err == nil {
					gotC = string(c.Phase)
					if tt.container == "running" && gotC == "exited" {
						wantEnd(t, c, 255, "Unknown")
					}
				}
				if tt.wantPod == gone && c != "" {
					tt.wantContainer = gone
				}
				if gotPod != tt.wantPod || gotC != tt.wantContainer {
					t.Errorf("pod %s, container %s; want %s, %s", gotPod, gotC, tt.wantPod, tt.wantContainer)
				}
				if tt.wantPod != "ready" {
					// All but the image of a container that is still there was given back.
					for line := range strings.Lines(n.String()) {
						if !strings.HasPrefix(line, "image ") || gotC == gone {
							t.Errorf("left: %s", line)
						}
					}
				}
				removeAll(t, m)
				wantNothing(t, n, root)
			})
		})
	}
}

// restart closes m and makes another on the same node.
func restart(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node, root string, meanwhile func()) *sandbox.Manager {
	t.Helper()
	m.Close()
	if meanwhile != nil {
		meanwhile()
	}
	return open(t, n, root)
}

func TestRecoverGoesOn(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		n := sandboxtest.New()
		m := open(t, n, root)
		pod := mustRun(t, m, podConfig("p"))
		exited := mustCreate(t, m, pod, containerConfig("a"))
		running := mustCreate(t, m, pod, containerConfig("b"))
		must(t, errors.Join(m.StartContainer(ctx, exited), m.StartContainer(ctx, running)))
		before := getPod(t, m, pod)
		m = restart(t, m, n, root, func() {
			time.Sleep(time.Minute)
			n.Exit(exited, sandbox.Exit{Code: 7, At: time.Now()})
			time.Sleep(time.Minute)
		})
		defer func() { m.Close() }()
		after := getPod(t, m, pod)
		if after.State != sandbox.PodReady || after.NetNS != before.NetNS || !after.CreatedAt.Equal(before.CreatedAt) || after.Shim.PID == 0 {
			t.Errorf("pod after the restart = %+v, want %+v", after, before)
		}
		c := getContainer(t, m, exited)
		wantEnd(t, c, 7, "Error")
		if got := c.FinishedAt.Sub(c.StartedAt); got != time.Minute {
			t.Errorf("it ran for %v, want a minute", got)
		}
		if c := getContainer(t, m, running); c.Phase != sandbox.ContainerRunning || c.LogPath != filepath.Join("/logs/p", "b/0.log") {
			t.Errorf("container = %+v, want it running", c)
		}
		// Exits are seen, names stay taken, work goes on.
		n.Exit(running, sandbox.Exit{At: time.Now()})
		synctest.Wait()
		wantEnd(t, getContainer(t, m, running), 0, "Completed")
		if _, err := m.RunPod(ctx, podConfig("p")); !errdefs.IsAlreadyExists(err) || !strings.Contains(err.Error(), pod) {
			t.Errorf("RunPod of the same name = %v, want AlreadyExists", err)
		}
		must(t, m.StartContainer(ctx, mustCreate(t, m, pod, containerConfig("c"))))
		// The VM's end is seen too.
		n.KillVM(pod, "gone")
		synctest.Wait()
		if getPod(t, m, pod).State != sandbox.PodNotReady {
			t.Error("the end of the VM was not seen")
		}
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

func TestRecoverUnreachableShim(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		c := aRunningContainer(t, m)
		pod := getContainer(t, m, c).PodID
		m = restart(t, m, n, root, func() { n.Fail("Open", errors.New("protocol 9 is not spoken")) })
		defer func() { m.Close() }()
		if p := getPod(t, m, pod); p.State != sandbox.PodNotReady || !strings.Contains(p.Reason, "protocol 9") {
			t.Errorf("pod = %s %q, want it not ready, with the cause", p.State, p.Reason)
		}
		if got := getContainer(t, m, c); got.Phase != sandbox.ContainerUnknown {
			t.Errorf("Phase = %s, want unknown", got.Phase)
		}
		if !strings.Contains(n.String(), "running") {
			t.Error("the VM was touched")
		}
		if err := m.StopContainer(t.Context(), c, 0); !errdefs.IsUnavailable(err) {
			t.Errorf("StopContainer = %v, want Unavailable", err)
		}
		n.Fail("Open", nil)
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}

func TestRecoverEndsStrays(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		pod := mustRun(t, m, podConfig("p"))
		before := n.String()
		m = restart(t, m, n, root, func() {
			n.AddStrayShim("0123456789abcdef0123456789abcdef")
			n.AddStrayContainer(pod, "fedcba9876543210fedcba9876543210")
		})
		defer func() { m.Close() }()
		if got := n.String(); got != before {
			t.Errorf("node holds:\n%s\nwant:\n%s", got, before)
		}
	})
}

func TestRecoverBrokenRecords(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		good := aFullPod(t, m)
		bad := mustRun(t, m, podConfig("bad"))
		mustCreate(t, m, bad, containerConfig("c"))
		cs, err := m.Containers(t.Context(), sandbox.ContainerFilter{PodID: good})
		must(t, err)
		m = restart(t, m, n, root, func() {
			must(t, os.WriteFile(podRecordPath(root, bad), []byte("{"), 0o600))
			must(t, os.WriteFile(containerRecordPath(root, good, cs[0].ID), nil, 0o600))
			must(t, os.Mkdir(filepath.Join(root, "0123456789abcdef0123456789abcdef"), 0o700))
			must(t, os.WriteFile(filepath.Join(root, "note.txt"), nil, 0o600))
		})
		defer func() { m.Close() }()
		pods, err := m.Pods(t.Context(), sandbox.PodFilter{})
		must(t, err)
		if len(pods) != 1 || pods[0].ID != good || pods[0].State != sandbox.PodReady {
			t.Errorf("Pods = %+v, want the good one", pods)
		}
		left, err := m.Containers(t.Context(), sandbox.ContainerFilter{})
		must(t, err)
		if len(left) != 1 || left[0].ID != cs[1].ID {
			t.Errorf("Containers = %+v, want the good one", left)
		}
		for _, name := range []string{bad, cs[0].ID + ".container.json"} {
			if _, err := os.Stat(filepath.Join(root, "quarantine", name)); err != nil {
				t.Errorf("quarantine: %v", err)
			}
		}
		must(t, os.Remove(filepath.Join(root, "note.txt")))
		removeAll(t, m)
		// A broken pod's scratch disk went with the pod's folder, so only its name is left.
		if got := n.String(); strings.Contains(got, "vm ") || strings.Contains(got, "network ") || strings.Contains(got, "image ") {
			t.Errorf("node holds:\n%s", got)
		}
	})
}

func TestRecoverRefusesNewerRecord(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		pod := aFullPod(t, m)
		m.Close()
		before := n.String()
		path := podRecordPath(root, pod)
		data, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, []byte(strings.Replace(string(data), `"version": 1`, `"version": 2`, 1)), 0o600))
		if _, err := sandbox.New(t.Context(), config(t, n, root)); err == nil || !strings.Contains(err.Error(), "newer") {
			t.Errorf("New = %v, want an error that speaks of a newer version", err)
		}
		if n.String() != before {
			t.Errorf("the node was touched:\n%s", n)
		}
	})
}

func TestRecoverAfterFailedCleanup(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		n := sandboxtest.New()
		m := open(t, n, root)
		pod := aFullPod(t, m)
		m = restart(t, m, n, root, func() {
			n.Reboot()
			n.Fail("Detach", errors.New("plugin is missing"))
		})
		defer func() { m.Close() }()
		if getPod(t, m, pod).State != sandbox.PodNotReady {
			t.Error("pod is ready after a reboot")
		}
		n.Fail("Detach", nil)
		removeAll(t, m)
		wantNothing(t, n, root)
	})
}
