package mux

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var grpcFrames = grpc.ForceCodecV2(frameCodec{})

func (r *rig) imageStatus(spec *runtimeapi.ImageSpec) *runtimeapi.Image {
	r.t.Helper()
	resp, err := r.images.ImageStatus(r.t.Context(), &runtimeapi.ImageStatusRequest{Image: spec})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.GetImage()
}

// start starts a container of a pod as a kubelet with the policy IfNotPresent does:
// is the image there; pull it if not; who is its user; make the container.
func (r *rig) ensure(pod, name, ref string) (pulled bool, err error) {
	r.t.Helper()
	spec := &runtimeapi.ImageSpec{Image: ref, Annotations: podAnnotations(name)}
	img := r.imageStatus(spec)
	id := img.GetId()
	if img == nil {
		resp, err := r.images.PullImage(r.t.Context(), &runtimeapi.PullImageRequest{Image: spec, SandboxConfig: podConfig(name)})
		if err != nil {
			return true, err
		}
		id, pulled = resp.GetImageRef(), true
	}
	if r.imageStatus(&runtimeapi.ImageSpec{Image: id}) == nil {
		r.t.Errorf("%s is not found by the id %s that the kubelet was told", ref, id)
	}
	_, err = r.runtime.CreateContainer(r.t.Context(), &runtimeapi.CreateContainerRequest{
		PodSandboxId: pod, Config: &runtimeapi.ContainerConfig{Image: &runtimeapi.ImageSpec{Image: id, UserSpecifiedImage: ref}},
	})
	return pulled, err
}

// TestImages_TagOfOneSide: a tag that one side holds becomes usable on the other, whichever
// comes first, and is pulled once a side only.
func TestImages_TagOfOneSide(t *testing.T) {
	for _, order := range [][2]string{{"vm", "runc"}, {"runc", "vm"}} {
		t.Run(order[0]+"_first", func(t *testing.T) {
			r := newRig(t, nil)
			for i, handler := range order {
				pod := r.run(handler, handler)
				pulled, err := r.ensure(pod, handler, "app:1")
				if err != nil || !pulled {
					t.Errorf("container %d, on %s: pulled %v, %v", i, handler, pulled, err)
				}
				again := handler + "-again"
				if pulled, err := r.ensure(r.run(again, handler), again, "app:1"); err != nil || pulled {
					t.Errorf("a second pod on %s: pulled %v, %v, want no pull", handler, pulled, err)
				}
			}
			if r.ours.images["app:1"] == nil || r.upstream.images["app:1"] == nil {
				t.Errorf("ours:\n%supstream:\n%s", r.ours, r.upstream)
			}
		})
	}
}

// TestImages_AfterRestart: what the lists tell is enough; and where even that is missing,
// an image that one side lacks is pulled rather than taken for there.
func TestImages_AfterRestart(t *testing.T) {
	r := newRig(t, nil)
	vm := r.run("vm", "vm")
	r.upstream.images["app:1"] = &runtimeapi.Image{Id: "sha256:app:1", RepoTags: []string{"app:1"}}
	r.close()
	r.start()
	if pulled, err := r.ensure(vm, "vm", "app:1"); err != nil || !pulled {
		t.Errorf("nothing listed yet: pulled %v, %v", pulled, err)
	}
	r.podNames(nil)
	if pulled, err := r.ensure(vm, "vm", "app:1"); err != nil || pulled {
		t.Errorf("listed: pulled %v, %v", pulled, err)
	}
}

func TestImages_StatusForNobody(t *testing.T) {
	r := newRig(t, nil)
	r.upstream.images["app:1"] = &runtimeapi.Image{Id: "sha256:x", RepoTags: []string{"app:1"}, Size: 3}
	if img := r.imageStatus(&runtimeapi.ImageSpec{Image: "app:1"}); img.GetId() != "sha256:x" {
		t.Errorf("ImageStatus = %v, want upstream's", img)
	}
	if img := r.imageStatus(&runtimeapi.ImageSpec{Image: "app:1", RuntimeHandler: "vm"}); img != nil {
		t.Errorf("ImageStatus for our handler = %v, want none", img)
	}
	if img := r.imageStatus(&runtimeapi.ImageSpec{Image: "app:1", Annotations: map[string]string{"a": "b"}}); img != nil {
		t.Errorf("ImageStatus for a pod that nobody knows = %v, want none", img)
	}
	if img := r.imageStatus(&runtimeapi.ImageSpec{Image: "none"}); img != nil {
		t.Errorf("ImageStatus = %v", img)
	}
	r.stop()
	_, err := r.images.ImageStatus(t.Context(), &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: "app:1"}})
	wantCode(t, err, codes.Unavailable, "upstream")
}

// TestImages_PullForNobody: a pull without a pod goes by its handler.
func TestImages_PullForNobody(t *testing.T) {
	r := newRig(t, nil)
	for ref, spec := range map[string]*runtimeapi.ImageSpec{"a": {Image: "a"}, "b": {Image: "b", RuntimeHandler: "runc"}, "c": {Image: "c", RuntimeHandler: "vm"}} {
		if _, err := r.images.PullImage(t.Context(), &runtimeapi.PullImageRequest{Image: spec}); err != nil {
			t.Errorf("PullImage(%s) = %v", ref, err)
		}
	}
	if diff := cmp.Diff("image a\nimage c\n", r.ours.String()); diff != "" {
		t.Errorf("ours (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("image b\n", r.upstream.String()); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
}

// TestImages_SamePodTwice: a pod whose handler changed has an old sandbox on the other
// side; the one that is ready counts.
func TestImages_SamePodTwice(t *testing.T) {
	r := newRig(t, nil)
	old := r.run("p", "vm")
	if _, err := r.runtime.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: old}); err != nil {
		t.Fatal(err)
	}
	r.podNames(nil)
	pod := r.run("p", "runc")
	if _, err := r.ensure(pod, "p", "app:1"); err != nil || r.upstream.images["app:1"] == nil {
		t.Errorf("ensure = %v; upstream:\n%s", err, r.upstream)
	}
}

// TestImages_WhoseQuestion: a pod is known again though its annotations were changed, and
// two that were seen at one time are told apart.
func TestImages_WhoseQuestion(t *testing.T) {
	r := newRig(t, nil)
	pod := func(name, handler, seen string) map[string]string {
		c := podConfig(name)
		c.Annotations = map[string]string{seenAnnotation: seen, sourceAnnotation: "api", "name": name}
		if _, err := r.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{RuntimeHandler: handler, Config: c}); err != nil {
			t.Fatal(err)
		}
		return c.Annotations
	}
	ask := func(a map[string]string) *side {
		return r.mux.imageSide(&runtimeapi.ImageSpec{Image: "x", Annotations: a})
	}
	changed := pod("changed", "runc", "1")
	changed["name"] = "other"
	if got := ask(changed); got != r.mux.upstream() {
		t.Errorf("changed annotations: %v, want upstream", got)
	}
	vm, runc := pod("a", "vm", "2"), pod("b", "runc", "2")
	if ask(vm) != r.mux.ours() || ask(runc) != r.mux.upstream() {
		t.Errorf("seen at one time: %v, %v", ask(vm), ask(runc))
	}
	vm["name"] = "c"
	if got := ask(vm); got != nil {
		t.Errorf("either could be meant: %v, want none", got.name)
	}
	if got := ask(map[string]string{seenAnnotation: "3"}); got != nil {
		t.Errorf("seen by nobody: %v, want none", got.name)
	}
}

func TestImages_ListRemoveUsage(t *testing.T) {
	r := newRig(t, nil)
	r.ours.images["app:1"] = &runtimeapi.Image{Id: "sha256:x", RepoTags: []string{"app:1"}, Size: 3, Pinned: true}
	r.ours.images["own"] = &runtimeapi.Image{Id: "sha256:own", RepoTags: []string{"own"}, Size: 1}
	r.upstream.images["app:2"] = &runtimeapi.Image{Id: "sha256:x", RepoTags: []string{"app:2"}, Size: 4, Username: "web"}
	resp, err := r.images.ListImages(t.Context(), &runtimeapi.ListImagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []*runtimeapi.Image{
		{Id: "sha256:x", RepoTags: []string{"app:1", "app:2"}, Size: 7, Pinned: true, Username: "web"},
		{Id: "sha256:own", RepoTags: []string{"own"}, Size: 1},
	}
	if diff := cmp.Diff(want, resp.GetImages(), protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := r.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: "sha256:x"}}); err != nil {
		t.Fatal(err)
	}
	if got := r.ours.String() + r.upstream.String(); got != "image own\n" {
		t.Errorf("after the removal there is\n%s", got)
	}
	if _, err := r.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: "own"}}); err != nil {
		t.Errorf("RemoveImage of one that only ours has = %v", err)
	}
	r.upstream.setFail("RemoveImage", status.Error(codes.FailedPrecondition, "in use"))
	_, err = r.images.RemoveImage(t.Context(), &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: "x"}})
	wantCode(t, err, codes.FailedPrecondition, "in use")

	fs, err := r.images.ImageFsInfo(t.Context(), &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, u := range fs.GetImageFilesystems() {
		got[u.GetFsId().GetMountpoint()] = u.GetUsedBytes().GetValue()
	}
	if diff := cmp.Diff(map[string]uint64{"/aaaa": 7, "/bbbb": 7, "/shared": 10}, got); diff != "" || fs.GetImageFilesystems()[0].GetFsId().GetMountpoint() != "/aaaa" {
		t.Errorf("ImageFsInfo (-want +got):\n%s%v", diff, fs)
	}
}
