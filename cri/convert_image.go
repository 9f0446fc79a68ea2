package cri

import (
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// imageMessage is the answer's form of an image.
func imageMessage(img Image) *runtimeapi.Image {
	uid, name := imageUser(img.User)
	return &runtimeapi.Image{
		Id: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: img.Bytes,
		Uid: uid, Username: name, Pinned: img.Pinned,
		Spec: &runtimeapi.ImageSpec{Image: img.ID},
	}
}

// imageUser splits the user of an image's config, without its group, into a number or
// a name. No user at all is neither: the kubelet takes that for root.
func imageUser(user string) (*runtimeapi.Int64Value, string) {
	name, _, _ := strings.Cut(user, ":")
	if name == "" {
		return nil, ""
	}
	if uid, err := strconv.ParseInt(name, 10, 64); err == nil {
		return &runtimeapi.Int64Value{Value: uid}, ""
	}
	return nil, clean(name, maxName)
}

// imageOf is the image that a request names, for the log.
func imageOf(m any) string {
	switch m := m.(type) {
	case interface {
		GetImage() *runtimeapi.ImageSpec
	}:
		return m.GetImage().GetImage()
	case *runtimeapi.CreateContainerRequest:
		return m.GetConfig().GetImage().GetImage()
	}
	return ""
}
