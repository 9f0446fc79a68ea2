package cri

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

func decodeMount(t *testing.T, text string) *runtimeapi.Mount {
	t.Helper()
	var m runtimeapi.Mount
	if err := protojson.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestMounts(t *testing.T) {
	tests := []struct {
		name, in string
		want     sandbox.Mount
	}{
		{"folder", `{"containerPath":"/d","hostPath":"/h"}`, sandbox.Mount{ContainerPath: "/d", HostPath: "/h"}},
		{"read_only", `{"containerPath":"/d","hostPath":"/h","readonly":true}`, sandbox.Mount{ContainerPath: "/d", HostPath: "/h", ReadOnly: true}},
		{"recursive", `{"containerPath":"/d","hostPath":"/h","readonly":true,"recursiveReadOnly":true}`,
			sandbox.Mount{ContainerPath: "/d", HostPath: "/h", ReadOnly: true, Recursive: true}},
		{"host_to_container", `{"containerPath":"/d","hostPath":"/h","propagation":"PROPAGATION_HOST_TO_CONTAINER"}`,
			sandbox.Mount{ContainerPath: "/d", HostPath: "/h", Propagation: sandbox.PropagateHostToContainer}},
		{"relabel", `{"containerPath":"/d","hostPath":"/h","selinuxRelabel":true}`, sandbox.Mount{ContainerPath: "/d", HostPath: "/h", Relabel: true}},
		{"options", `{"containerPath":"/d","hostPath":"/h","mountOptions":["noexec","nosuid"]}`,
			sandbox.Mount{ContainerPath: "/d", HostPath: "/h", Options: []string{"noexec", "nosuid"}}},
		{"image", `{"containerPath":"/d","readonly":true,"image":{"image":"sha256:1","userSpecifiedImage":"a/b"},"imageSubPath":"x/y"}`,
			sandbox.Mount{ContainerPath: "/d", ReadOnly: true, Image: &sandbox.MountImage{Ref: "sha256:1", UserRef: "a/b", SubPath: "x/y"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := decodeMount(t, tt.in)
			got, err := mounts([]*runtimeapi.Mount{in})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]sandbox.Mount{tt.want}, got); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			if back := mountStatus(got[0]); !proto.Equal(back, in) {
				t.Errorf("mountStatus = %v, want %v", back, in)
			}
		})
	}
}

func TestMounts_Refused(t *testing.T) {
	tests := []struct {
		name, in, field string
		kind            error
	}{
		{"no_container_path", `{"hostPath":"/h"}`, "container_path", errdefs.ErrInvalidArgument},
		{"relative_container_path", `{"containerPath":"d","hostPath":"/h"}`, "container_path", errdefs.ErrInvalidArgument},
		{"root", `{"containerPath":"//","hostPath":"/h"}`, "container_path", errdefs.ErrInvalidArgument},
		{"dots_container_path", `{"containerPath":"/a/../b","hostPath":"/h"}`, "container_path", errdefs.ErrInvalidArgument},
		{"no_source", `{"containerPath":"/d"}`, "host_path", errdefs.ErrInvalidArgument},
		{"relative_host_path", `{"containerPath":"/d","hostPath":"h"}`, "host_path", errdefs.ErrInvalidArgument},
		{"dots_host_path", `{"containerPath":"/d","hostPath":"/h/../../etc"}`, "host_path", errdefs.ErrInvalidArgument},
		{"nul", `{"containerPath":"/d","hostPath":"/h\u0000"}`, "host_path", errdefs.ErrInvalidArgument},
		{"long", fmt.Sprintf(`{"containerPath":"/d","hostPath":"/%s"}`, strings.Repeat("a", maxPath)), "host_path", errdefs.ErrInvalidArgument},
		{"both", `{"containerPath":"/d","hostPath":"/h","image":{"image":"i"}}`, "host_path", errdefs.ErrInvalidArgument},
		{"image_empty", `{"containerPath":"/d","image":{}}`, "image.image", errdefs.ErrInvalidArgument},
		{"sub_path_alone", `{"containerPath":"/d","hostPath":"/h","imageSubPath":"x"}`, "image_sub_path", errdefs.ErrInvalidArgument},
		{"sub_path_absolute", `{"containerPath":"/d","image":{"image":"i"},"imageSubPath":"/x"}`, "image_sub_path", errdefs.ErrInvalidArgument},
		{"sub_path_dots", `{"containerPath":"/d","image":{"image":"i"},"imageSubPath":"x/../../y"}`, "image_sub_path", errdefs.ErrInvalidArgument},
		{"bidirectional", `{"containerPath":"/d","hostPath":"/h","propagation":"PROPAGATION_BIDIRECTIONAL"}`, "propagation: bidirectional", errdefs.ErrNotImplemented},
		{"propagation", `{"containerPath":"/d","hostPath":"/h","propagation":9}`, "propagation", errdefs.ErrInvalidArgument},
		{"image_propagation", `{"containerPath":"/d","image":{"image":"i"},"propagation":"PROPAGATION_HOST_TO_CONTAINER"}`, "propagation", errdefs.ErrInvalidArgument},
		{"recursive_alone", `{"containerPath":"/d","hostPath":"/h","recursiveReadOnly":true}`, "recursive_read_only", errdefs.ErrInvalidArgument},
		{"recursive_shared", `{"containerPath":"/d","hostPath":"/h","readonly":true,"recursiveReadOnly":true,"propagation":"PROPAGATION_HOST_TO_CONTAINER"}`,
			"recursive_read_only", errdefs.ErrInvalidArgument},
		{"uid_mappings", `{"containerPath":"/d","hostPath":"/h","uidMappings":[{"length":1}]}`, "uidMappings", errdefs.ErrInvalidArgument},
		{"gid_mappings", `{"containerPath":"/d","hostPath":"/h","gidMappings":[{"length":1}]}`, "Mappings", errdefs.ErrInvalidArgument},
		{"option", `{"containerPath":"/d","hostPath":"/h","mountOptions":["suid"]}`, "mount_options", errdefs.ErrNotImplemented},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := mounts([]*runtimeapi.Mount{decodeMount(t, tt.in)})
			checkRefused(t, err, tt.kind, "config.mounts[0]")
			checkRefused(t, err, tt.kind, tt.field)
		})
	}
	_, err := mounts(make([]*runtimeapi.Mount, maxMounts+1))
	checkRefused(t, err, errdefs.ErrInvalidArgument, "config.mounts")
}
