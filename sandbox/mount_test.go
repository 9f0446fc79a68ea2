package sandbox_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// mountedContainer mounts a folder and, twice, an image.
func mountedContainer(name, dir string) sandbox.ContainerConfig {
	c := containerConfig(name)
	c.Mounts = []sandbox.Mount{
		{ContainerPath: "/i/deep", Image: &sandbox.MountImage{Ref: "stubborn", SubPath: "a/b"}},
		{ContainerPath: "/d", HostPath: dir},
		{ContainerPath: "/i", Image: &sandbox.MountImage{Ref: "busybox"}},
	}
	return c
}

func TestCreateContainer_Mounts(t *testing.T) {
	n := sandboxtest.New()
	root, dir := t.TempDir(), os.TempDir()
	m := open(t, n, root)
	defer m.Close()
	pod := aPod(t, m)
	id := mustCreate(t, m, pod, mountedContainer("c", dir))
	setup, _ := n.Setup(id)
	var got []string
	for _, s := range setup.Mounts {
		text := s.ContainerPath
		switch {
		case s.Image != nil:
			text += " image " + s.Image.Layers[0].DiffID + " " + s.Image.SubPath
		case s.Folder != nil:
			text += " folder " + s.Folder.Path
		}
		got = append(got, text)
	}
	busybox, stubborn := setup.Layers[0].DiffID, setup.Mounts[2].Image.Layers[0].DiffID
	want := []string{"/d folder " + dir, "/i image " + busybox + " ", "/i/deep image " + stubborn + " a/b"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	held := n.String()
	if got := strings.Count(held, "held by "+id[:8]); got != 3 {
		t.Errorf("%d images are held, want 3:\n%s", got, held)
	}

	// A new daemon holds them too, and lets go of them with the container.
	m.Close()
	m = open(t, n, root)
	defer m.Close()
	if again := n.String(); again != held {
		t.Errorf("after a restart (-before +after):\n%s", cmp.Diff(held, again))
	}
	if diff := cmp.Diff(mountedContainer("c", dir).Mounts, getContainer(t, m, id).Config.Mounts); diff != "" {
		t.Errorf("mounts after a restart (-want +got):\n%s", diff)
	}
	must(t, m.RemoveContainer(t.Context(), id))
	if left := n.String(); strings.Contains(left, id[:8]) {
		t.Errorf("left after removal:\n%s", left)
	}
}

func TestCreateContainer_MountedImageMissing(t *testing.T) {
	n := sandboxtest.New()
	m := open(t, n, t.TempDir())
	defer m.Close()
	pod := aPod(t, m)
	before := n.String()
	c := containerConfig("c")
	c.Mounts = []sandbox.Mount{{ContainerPath: "/i", Image: &sandbox.MountImage{Ref: "absent"}}}
	if _, err := m.CreateContainer(t.Context(), pod, c); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "/i") {
		t.Errorf("CreateContainer = %v, want NotFound that names /i", err)
	}
	if after := n.String(); after != before {
		t.Errorf("left (-before +after):\n%s", cmp.Diff(before, after))
	}
}

func TestCreateContainerWithMountsEachStepFails(t *testing.T) {
	eachStep(t, aPod, func(ctx context.Context, m *sandbox.Manager, pod string) error {
		_, err := m.CreateContainer(ctx, pod, mountedContainer("c", os.TempDir()))
		return err
	})
}

func TestRemoveContainerWithMountsEachStepFails(t *testing.T) {
	eachStep(t, func(t *testing.T, m *sandbox.Manager) string {
		return mustCreate(t, m, aPod(t, m), mountedContainer("c", os.TempDir()))
	}, func(ctx context.Context, m *sandbox.Manager, c string) error {
		return m.RemoveContainer(ctx, c)
	})
}
