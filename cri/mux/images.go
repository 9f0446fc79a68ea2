package mux

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Images are each side's own: what one holds the other cannot run. The kubelet asks
// whether an image is there before it pulls, without saying for whom unless a feature
// gate is on; it does say with which annotations its pod was made, and whose pod a pull
// is for. By these the right side is found.

// The kubelet's own annotations of a pod: when it saw the pod first, and from where.
const (
	seenAnnotation   = "kubernetes.io/config.seen"
	sourceAnnotation = "kubernetes.io/config.source"
)

// imageSide is the side that a question about an image is for; nil: nobody knows. Two pods
// can have been seen at one time, as clocks go; then all annotations count.
func (m *Mux) imageSide(spec *runtimeapi.ImageSpec) *side {
	if h := spec.GetRuntimeHandler(); h != "" {
		return m.handlerOwner(h)
	}
	of := spec.GetAnnotations()
	if of[seenAnnotation] == "" {
		return nil
	}
	if s := m.onlySideWith(func(p *runtimeapi.PodSandbox) bool {
		return p.GetAnnotations()[seenAnnotation] == of[seenAnnotation] && p.GetAnnotations()[sourceAnnotation] == of[sourceAnnotation]
	}); s != nil {
		return s
	}
	return m.onlySideWith(func(p *runtimeapi.PodSandbox) bool { return maps.Equal(p.GetAnnotations(), of) })
}

// onlySideWith is the side with pods that match, when the other has none that is ready.
func (m *Mux) onlySideWith(match func(*runtimeapi.PodSandbox) bool) *side {
	var found *side
	for i, s := range m.sides {
		p := s.podWhere(match)
		if p == nil {
			continue
		}
		if other := m.sides[1-i].podWhere(match); other != nil && (other.GetState() == p.GetState() || !newer(p, other)) {
			continue
		}
		found = s
	}
	return found
}

// imageStatus is that of the side that the question is for. Where that is not known but
// there is a pod that it is for, the image is there only when both have it: the kubelet
// then pulls it, and a pull finds its side. Other questions, by crictl, or for the user of
// an image that is there by its id, are answered with what any side has.
func (m *Mux) imageStatus(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.ImageStatusRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	if s := m.imageSide(q.GetImage()); s != nil {
		_, err := m.pass(ctx, s, method, in, out)
		return err
	}
	answers, errs, err := both(ctx, m, q, ofImages(runtimeapi.ImageServiceClient.ImageStatus))
	if err := first(err, m.worst(errs)); err != nil {
		return err
	}
	ours, theirs := answers[0].GetImage(), answers[1].GetImage()
	if len(q.GetImage().GetAnnotations()) > 0 && (ours == nil || theirs == nil) {
		return reply(out, &runtimeapi.ImageStatusResponse{})
	}
	resp := &runtimeapi.ImageStatusResponse{Info: map[string]string{}}
	for i := range answers {
		maps.Copy(resp.Info, answers[1-i].GetInfo()) // ours last, over the other's
	}
	switch all := mergeImages([]*runtimeapi.Image{ours, theirs}); {
	case len(all) > 0:
		// One name, two images: each side runs its own, and shown is the default's.
		resp.Image = all[0]
		if len(all) > 1 && m.fallback == m.upstream() {
			resp.Image = all[1]
		}
	case errs[0] != nil || errs[1] != nil:
		// The absent side may have it.
		return m.oneOf(errs)
	}
	return reply(out, resp)
}

// oneOf is the error of the side that has one.
func (m *Mux) oneOf(errs [2]error) error {
	for i, err := range errs {
		if err != nil {
			return m.sides[i].annotate(err)
		}
	}
	return nil
}

func (m *Mux) listImages(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.ListImagesRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	answers, errs, err := both(ctx, m, q, ofImages(runtimeapi.ImageServiceClient.ListImages))
	if err := first(err, m.worst(errs)); err != nil {
		return err
	}
	return reply(out, &runtimeapi.ListImagesResponse{Images: mergeImages(slices.Concat(answers[0].GetImages(), answers[1].GetImages()))})
}

// mergeImages makes one of the entries that have one id: all its names, the disk that it
// takes on both sides, pinned when it is on one.
func mergeImages(all []*runtimeapi.Image) []*runtimeapi.Image {
	at := map[string]int{}
	var out []*runtimeapi.Image
	for _, img := range all {
		if img == nil {
			continue
		}
		i, ok := at[img.GetId()]
		if !ok {
			at[img.GetId()] = len(out)
			out = append(out, img)
			continue
		}
		o := out[i]
		out[i] = &runtimeapi.Image{
			Id: o.GetId(), RepoTags: union(o.GetRepoTags(), img.GetRepoTags()), RepoDigests: union(o.GetRepoDigests(), img.GetRepoDigests()),
			Size: o.GetSize() + img.GetSize(), Uid: cmp.Or(o.GetUid(), img.GetUid()), Username: cmp.Or(o.GetUsername(), img.GetUsername()),
			Spec: cmp.Or(o.GetSpec(), img.GetSpec()), Pinned: o.GetPinned() || img.GetPinned(),
		}
	}
	return out
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// pullImage pulls on the side that runs the pod that the pull is for; without a pod, on
// that of the handler, which is the default's without one.
func (m *Mux) pullImage(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.PullImageRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	s := m.handlerOwner(q.GetImage().GetRuntimeHandler())
	if uid := q.GetSandboxConfig().GetMetadata().GetUid(); uid != "" && q.GetImage().GetRuntimeHandler() == "" {
		switch owner, err := m.podByUID(ctx, uid); {
		case err != nil:
			return err
		case owner != nil:
			s = owner
		}
	}
	_, err := m.pass(ctx, s, method, in, out)
	return err
}

// removeImage removes it on both sides. That one has none is no error.
func (m *Mux) removeImage(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.RemoveImageRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	// Not bounded by askTimeout: much may have to be unlinked.
	errs := m.each(func(_ int, s *side) error {
		_, err := s.images.RemoveImage(ctx, q)
		if status.Code(err) == codes.NotFound {
			return nil
		}
		return err
	})
	if err := m.oneOf(errs); err != nil {
		return err
	}
	return reply(out, &runtimeapi.RemoveImageResponse{})
}

// imageFsInfo has the file systems of both, the default's first, which is the one that a
// kubelet looks at.
func (m *Mux) imageFsInfo(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.ImageFsInfoRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	answers, errs, err := both(ctx, m, q, ofImages(runtimeapi.ImageServiceClient.ImageFsInfo))
	if err := first(err, m.worst(errs)); err != nil {
		return err
	}
	if m.fallback == m.upstream() {
		answers[0], answers[1] = answers[1], answers[0]
	}
	resp := &runtimeapi.ImageFsInfoResponse{}
	for _, a := range answers {
		resp.ImageFilesystems = addUsage(resp.ImageFilesystems, a.GetImageFilesystems())
		resp.ContainerFilesystems = addUsage(resp.ContainerFilesystems, a.GetContainerFilesystems())
	}
	return reply(out, resp)
}

// addUsage adds up what is used below the same mount point.
func addUsage(all, add []*runtimeapi.FilesystemUsage) []*runtimeapi.FilesystemUsage {
	sum := func(a, b *runtimeapi.UInt64Value) *runtimeapi.UInt64Value {
		if a == nil && b == nil {
			return nil
		}
		return &runtimeapi.UInt64Value{Value: a.GetValue() + b.GetValue()}
	}
	for _, u := range add {
		i := slices.IndexFunc(all, func(o *runtimeapi.FilesystemUsage) bool {
			return strings.EqualFold(o.GetFsId().GetMountpoint(), u.GetFsId().GetMountpoint())
		})
		if i < 0 {
			all = append(all, u)
			continue
		}
		o := all[i]
		all[i] = &runtimeapi.FilesystemUsage{
			Timestamp: max(o.GetTimestamp(), u.GetTimestamp()), FsId: o.GetFsId(),
			UsedBytes: sum(o.GetUsedBytes(), u.GetUsedBytes()), InodesUsed: sum(o.GetInodesUsed(), u.GetInodesUsed()),
		}
	}
	return all
}
