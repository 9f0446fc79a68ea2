package sandbox_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// files names what is in a folder.
func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// runningPod is a pod of two containers that run and one that has exited.
func runningPod(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) (pod string, ids []string) {
	t.Helper()
	pod = aPod(t, m)
	for _, name := range []string{"a", "b", "done"} {
		id := mustCreate(t, m, pod, containerConfig(name))
		must(t, m.StartContainer(t.Context(), id))
		ids = append(ids, id)
	}
	must(t, m.StopContainer(t.Context(), ids[2], 0))
	return pod, ids[:2]
}

// checkpointed saves such a pod, and removes it.
func checkpointed(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) (dir string) {
	t.Helper()
	dir = t.TempDir()
	pod, ids := runningPod(t, m, n)
	must(t, m.CheckpointPod(t.Context(), pod, dir, ids))
	must(t, m.RemovePod(t.Context(), pod))
	return dir
}

func restoreConfig(dir, name string) sandbox.RestoreConfig {
	return sandbox.RestoreConfig{
		Dir: dir, Pod: podConfig(name),
		Containers: []sandbox.ContainerConfig{containerConfig("b"), containerConfig("a")},
	}
}

func TestCheckpointPod(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod, ids := runningPod(t, m, n)
		dir := t.TempDir()
		must(t, m.CheckpointPod(t.Context(), pod, dir, ids))
		want := []string{"manifest.json", "scratch.sparse", "vm.vmrs"}
		if diff := cmp.Diff(want, files(t, dir)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		for _, id := range ids {
			if p := getContainer(t, m, id).Phase; p != sandbox.ContainerRunning {
				t.Errorf("container is %s afterwards", p)
			}
		}
		must(t, m.RemovePod(t.Context(), pod))

		for i, name := range []string{"again", "once-more"} {
			c := restoreConfig(dir, name)
			c.Containers[1].Resources.MemoryLimit = 64 << 20
			id, restored, err := m.RestorePod(t.Context(), c)
			must(t, err)
			if len(restored) != 2 || restored[0].Name != "b" || restored[1].Name != "a" {
				t.Errorf("restored %+v, want those of the request in its order", restored)
			}
			p := getPod(t, m, id)
			if p.State != sandbox.PodReady || len(p.IPs) != 1 || p.Config.Name != name {
				t.Errorf("restored pod %+v", p)
			}
			for _, rc := range restored {
				got := getContainer(t, m, rc.ID)
				if got.Phase != sandbox.ContainerCreatedPhase || got.ImageID != "sha256:busybox" || got.PID == 0 ||
					got.LogPath != "/logs/"+name+"/"+rc.Name+"/0.log" || !got.StartedAt.IsZero() {
					t.Errorf("restored container %+v", got)
				}
				setup, _ := n.Setup(rc.ID)
				if setup.LogPath != got.LogPath {
					t.Errorf("the shim logs to %s", setup.LogPath)
				}
				must(t, m.StartContainer(t.Context(), rc.ID))
			}
			if got := n.String(); strings.Count(got, "running with") != i+1 {
				t.Errorf("the one container with other limits has not got them:\n%s", got)
			}
		}
	})
}

func TestCheckpointPod_Refused(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		pod, ids := runningPod(t, m, n)
		other := mustRun(t, m, podConfig("other"))
		full := t.TempDir()
		must(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
		link := filepath.Join(t.TempDir(), "link")
		must(t, os.Symlink(t.TempDir(), link))
		empty := t.TempDir()
		for _, tc := range []struct {
			name, pod, dir string
			ids            []string
			is             func(error) bool
			text           string
		}{
			{"no_pod", "ffffffffffffffffffffffffffffffff", empty, ids, errdefs.IsNotFound, "ffff"},
			{"no_containers", pod, empty, nil, errdefs.IsInvalidArgument, "container_ids"},
			{"twice", pod, empty, []string{ids[0], ids[0]}, errdefs.IsInvalidArgument, "twice"},
			{"some", pod, empty, ids[:1], errdefs.IsFailedPrecondition, "saved whole"},
			{"unknown", pod, empty, append([]string{"eeee"}, ids...), errdefs.IsNotFound, "eeee"},
			{"other_pods", other, empty, ids, errdefs.IsNotFound, "not a container of the pod"},
			{"relative", pod, "x", ids, errdefs.IsInvalidArgument, "absolute"},
			{"missing", pod, filepath.Join(empty, "x"), ids, errdefs.IsNotFound, "output_path"},
			{"not_empty", pod, full, ids, errdefs.IsFailedPrecondition, "not empty"},
			{"link", pod, link, ids, errdefs.IsInvalidArgument, "not a folder"},
			{"file", pod, filepath.Join(full, "mine"), ids, errdefs.IsInvalidArgument, "not a folder"},
		} {
			err := m.CheckpointPod(t.Context(), tc.pod, tc.dir, tc.ids)
			if !tc.is(err) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: CheckpointPod() = %v, want %q", tc.name, err, tc.text)
			}
		}
		created := mustCreate(t, m, pod, containerConfig("created"))
		if err := m.CheckpointPod(t.Context(), pod, empty, ids); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), created) {
			t.Errorf("CheckpointPod() with a created container = %v", err)
		}
		must(t, m.RemoveContainer(t.Context(), created))
		n.Fail("CheckpointLate", errors.New("late"))
		if err := m.CheckpointPod(t.Context(), pod, empty, ids); err == nil {
			t.Error("CheckpointPod() = nil though the shim failed late")
		}
		n.Fail("CheckpointLate", nil)
		if got := files(t, empty); got != nil {
			t.Errorf("refused checkpoints left %v", got)
		}
		if got := files(t, full); len(got) != 1 {
			t.Errorf("what was in the folder: %v", got)
		}
		n.KillVM(pod, "killed by the test")
		if err := m.CheckpointPod(t.Context(), pod, empty, ids); err == nil {
			t.Error("CheckpointPod() of a pod whose VM has ended = nil")
		}
	})
}

func TestCheckpointPodEachStepFails(t *testing.T) {
	dir := ""
	eachStep(t, func(t *testing.T, m *sandbox.Manager) string {
		dir = t.TempDir()
		return getContainer(t, m, aRunningContainer(t, m)).PodID
	}, func(ctx context.Context, m *sandbox.Manager, pod string) error {
		cs, err := m.Containers(ctx, sandbox.ContainerFilter{PodID: pod})
		must(t, err)
		err = m.CheckpointPod(ctx, pod, dir, []string{cs[0].ID})
		if got := files(t, dir); err != nil && got != nil {
			t.Errorf("%v left %v", err, got)
		}
		if c := getContainer(t, m, cs[0].ID); c.Phase != sandbox.ContainerRunning || getPod(t, m, pod).State != sandbox.PodReady {
			t.Errorf("after %v the container is %s", err, c.Phase)
		}
		return err
	})
}

func TestRestorePodEachStepFails(t *testing.T) {
	dir := ""
	eachStep(t, func(t *testing.T, m *sandbox.Manager) string {
		dir = t.TempDir()
		pod := getContainer(t, m, aRunningContainer(t, m)).PodID
		cs, err := m.Containers(t.Context(), sandbox.ContainerFilter{PodID: pod})
		must(t, err)
		must(t, m.CheckpointPod(t.Context(), pod, dir, []string{cs[0].ID}))
		must(t, m.RemovePod(t.Context(), pod))
		return ""
	}, func(ctx context.Context, m *sandbox.Manager, _ string) error {
		before := files(t, dir)
		c := containerConfig("c")
		c.Resources.MemoryLimit = 64 << 20
		_, _, err := m.RestorePod(ctx, sandbox.RestoreConfig{Dir: dir, Pod: podConfig("p"), Containers: []sandbox.ContainerConfig{c}})
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("checkpoint (-before +after):\n%s", diff)
		}
		pods, lerr := m.Pods(ctx, sandbox.PodFilter{})
		must(t, lerr)
		cs, lerr := m.Containers(ctx, sandbox.ContainerFilter{})
		must(t, lerr)
		undone := err == nil || !strings.Contains(err.Error(), "could not be undone")
		if err != nil && undone && len(pods)+len(cs) > 0 {
			t.Errorf("after %v there are %d pods and %d containers", err, len(pods), len(cs))
		}
		for _, p := range pods {
			if err != nil && p.State == sandbox.PodReady {
				t.Errorf("after %v the pod is ready", err)
			}
		}
		return err
	})
}

func TestRestorePod_Refused(t *testing.T) {
	run(t, func(t *testing.T, m *sandbox.Manager, n *sandboxtest.Node) {
		good := checkpointed(t, m, n)
		n.AddImage("newer", sandbox.ImageConfig{Cmd: []string{"sh"}})
		edit := func(name string, f func(b []byte) []byte) string {
			dir := t.TempDir()
			must(t, os.CopyFS(dir, os.DirFS(good)))
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, f(b), 0o600))
			return dir
		}
		cut := func(b []byte) []byte { return b[:len(b)/2] }
		flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
		replace := func(old, new string) func([]byte) []byte {
			return func(b []byte) []byte { return []byte(strings.Replace(string(b), old, new, 1)) }
		}
		for _, tc := range []struct {
			name   string
			dir    string
			change func(*sandbox.RestoreConfig)
			is     func(error) bool
			text   string
		}{
			{"nothing", t.TempDir(), nil, errdefs.IsNotFound, "no checkpoint"},
			{"relative", "somewhere", nil, errdefs.IsInvalidArgument, "absolute"},
			{"manifest_cut", edit("manifest.json", cut), nil, errdefs.IsDataLoss, "manifest.json is damaged"},
			{"manifest_empty", edit("manifest.json", func([]byte) []byte { return nil }), nil, errdefs.IsDataLoss, "damaged"},
			{"manifest_changed", edit("manifest.json", replace("sha256:busybox", "sha256:notabox")), nil, errdefs.IsDataLoss, "another digest"},
			{"manifest_newer", edit("manifest.json", replace(`"version":1`, `"version":2`)), nil, errdefs.IsFailedPrecondition, "format 2"},
			{"state_cut", edit(sandbox.StateFile, cut), nil, errdefs.IsDataLoss, "vm.vmrs is damaged"},
			{"state_changed", edit(sandbox.StateFile, flip), nil, errdefs.IsDataLoss, "vm.vmrs is damaged"},
			{"scratch_changed", edit(sandbox.ScratchFile, flip), nil, errdefs.IsDataLoss, "scratch.sparse is damaged"},
			{"handler", good, func(c *sandbox.RestoreConfig) { c.Pod.RuntimeHandler = "none" }, errdefs.IsInvalidArgument, "none"},
			{"no_containers", good, func(c *sandbox.RestoreConfig) { c.Containers = nil }, errdefs.IsInvalidArgument, "container_configs"},
			{"too_few", good, func(c *sandbox.RestoreConfig) { c.Containers = c.Containers[:1] }, errdefs.IsFailedPrecondition, `"a" "b"`},
			{"others", good, func(c *sandbox.RestoreConfig) { c.Containers[0].Name = "x" }, errdefs.IsFailedPrecondition, `"x"`},
			{"twice", good, func(c *sandbox.RestoreConfig) { c.Containers[0].Name = "a" }, errdefs.IsInvalidArgument, "twice"},
			{"image", good, func(c *sandbox.RestoreConfig) { c.Containers[0].Image = "newer" }, errdefs.IsFailedPrecondition, "sha256:newer"},
			{"no_image", good, func(c *sandbox.RestoreConfig) { c.Containers[0].Image = "gone" }, errdefs.IsNotFound, "gone"},
			{"command", good, func(c *sandbox.RestoreConfig) { c.Containers[0].Command = []string{"sh"} }, errdefs.IsFailedPrecondition, "command and args"},
			{"stdin", good, func(c *sandbox.RestoreConfig) { c.Containers[0].Stdin = true }, errdefs.IsFailedPrecondition, "terminal and stdin"},
			{"mounts", good, func(c *sandbox.RestoreConfig) {
				c.Containers[0].Mounts = []sandbox.Mount{{ContainerPath: "/x", HostPath: t.TempDir()}}
			}, errdefs.IsFailedPrecondition, "mounts"},
			{"sysctls", good, func(c *sandbox.RestoreConfig) { c.Pod.Sysctls = map[string]string{"net.a": "1"} }, errdefs.IsFailedPrecondition, "sysctls"},
			{"namespaces", good, func(c *sandbox.RestoreConfig) { c.Pod.Namespaces.PID = sandbox.NamespacePod }, errdefs.IsFailedPrecondition, "namespace"},
			{"too_large", good, func(c *sandbox.RestoreConfig) { c.Pod.Resources.MemoryLimit = 1 << 30 }, errdefs.IsFailedPrecondition, "MiB is needed"},
			{"log", good, func(c *sandbox.RestoreConfig) { c.Containers[0].LogPath = "../x" }, errdefs.IsInvalidArgument, "leads out"},
		} {
			c := restoreConfig(tc.dir, "again")
			if tc.change != nil {
				tc.change(&c)
			}
			_, _, err := m.RestorePod(t.Context(), c)
			if !tc.is(err) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%s: RestorePod() = %v, want %q", tc.name, err, tc.text)
			}
			if got := n.String(); got != "" {
				t.Errorf("%s: node holds:\n%s", tc.name, got)
			}
		}
		if _, _, err := m.RestorePod(t.Context(), restoreConfig(good, "again")); err != nil {
			t.Errorf("RestorePod() of what is good = %v", err)
		}
		if _, _, err := m.RestorePod(t.Context(), restoreConfig(good, "again")); !errdefs.IsAlreadyExists(err) {
			t.Errorf("RestorePod() of a name that is there = %v", err)
		}
	})
}

// TestRestorePod_Restart: a restored pod is one like others to the next daemon.
func TestRestorePod_Restart(t *testing.T) {
	n, root := sandboxtest.New(), t.TempDir()
	m := open(t, n, root)
	dir := checkpointed(t, m, n)
	id, restored, err := m.RestorePod(t.Context(), restoreConfig(dir, "again"))
	must(t, err)
	must(t, m.StartContainer(t.Context(), restored[0].ID))
	m.Close()
	m = open(t, n, root)
	defer m.Close()
	if p := getPod(t, m, id); p.State != sandbox.PodReady {
		t.Errorf("restored pod after a restart: %+v", p)
	}
	if p := getContainer(t, m, restored[0].ID).Phase; p != sandbox.ContainerRunning {
		t.Errorf("started container is %s", p)
	}
	must(t, m.StartContainer(t.Context(), restored[1].ID))
	removeAll(t, m)
	wantNothing(t, n, root)
}
