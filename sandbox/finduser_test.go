package sandbox_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
)

// knowing are images whose users are known, but for those of one image.
type knowing struct {
	sandbox.Images
	unknown string // id of an image
}

func (k knowing) FindUser(_ context.Context, root sandbox.RootFS, u sandbox.User) (sandbox.FoundUser, bool) {
	return sandbox.FoundUser{UID: 7, Groups: []uint32{0}, Home: "/" + root.ImageID + u.Spec}, root.ImageID != k.unknown
}

// TestCreateContainer_FindsUser: who was found on the host is told to the VM, nobody where
// none was, or where there is nobody to ask.
func TestCreateContainer_FindsUser(t *testing.T) {
	n := sandboxtest.New()
	image, err := n.Config("").Images.Prepare(t.Context(), "busybox", "x")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		wrap func(sandbox.Images) sandbox.Images
		want *sandbox.FoundUser
	}{
		"nobody_to_ask": {func(i sandbox.Images) sandbox.Images { return i }, nil},
		"not_known":     {func(i sandbox.Images) sandbox.Images { return knowing{i, image.ImageID} }, nil},
		"known":         {func(i sandbox.Images) sandbox.Images { return knowing{i, ""} }, &sandbox.FoundUser{UID: 7, Groups: []uint32{0}, Home: "/" + image.ImageID}},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t, n, t.TempDir())
			c.Images = tt.wrap(c.Images)
			m, err := sandbox.New(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			id, err := m.CreateContainer(t.Context(), mustRun(t, m, podConfig(name)), containerConfig("c"))
			if err != nil {
				t.Fatal(err)
			}
			setup, ok := n.Setup(id)
			if d := cmp.Diff(tt.want, setup.Found); !ok || d != "" {
				t.Errorf("%v (-want +told):\n%s", ok, d)
			}
		})
	}
}
