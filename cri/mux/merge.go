package mux

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// message is a pointer to a CRI message.
type message[T any] interface {
	*T
	proto.Message
}

// question asks one side.
type question[Q, R any] func(ctx context.Context, s *side, q *Q) (*R, error)

func ofRuntime[Q, R any](f func(runtimeapi.RuntimeServiceClient, context.Context, *Q, ...grpc.CallOption) (*R, error)) question[Q, R] {
	return func(ctx context.Context, s *side, q *Q) (*R, error) { return f(s.runtime, ctx, q) }
}

func ofImages[Q, R any](f func(runtimeapi.ImageServiceClient, context.Context, *Q, ...grpc.CallOption) (*R, error)) question[Q, R] {
	return func(ctx context.Context, s *side, q *Q) (*R, error) { return f(s.images, ctx, q) }
}

// both asks both sides the same, each for askTimeout at most, and returns the answers of
// ours and of upstream with their errors. The caller's own end is the only error.
func both[Q, R any](ctx context.Context, m *Mux, q *Q, ask question[Q, R]) (answers [2]*R, errs [2]error, err error) {
	bounded, cancel := context.WithTimeout(ctx, m.askTimeout)
	defer cancel()
	errs = m.each(func(i int, s *side) (err error) {
		answers[i], err = ask(bounded, s, q)
		return err
	})
	if ctx.Err() != nil {
		return answers, errs, status.FromContextError(ctx.Err()).Err()
	}
	return answers, errs, nil
}

// worst is the error to give when neither side has an answer: nil where one has.
func (m *Mux) worst(errs [2]error) error {
	if errs[0] == nil || errs[1] == nil {
		return nil
	}
	// Both have not built it: the caller then does without. Else what is amiss counts.
	err := errs[0]
	if status.Code(err) == codes.Unimplemented {
		err = errs[1]
	}
	st := status.Convert(err)
	return status.Errorf(st.Code(), "%s: %v; %s: %v", m.sides[0].name, status.Convert(errs[0]).Message(), m.sides[1].name, status.Convert(errs[1]).Message())
}

// refused is a side's error that is about the request, not about the side.
func refused(errs [2]error) error {
	for _, err := range errs {
		if err != nil && !absent(err) && status.Code(err) != codes.Unimplemented {
			return err
		}
	}
	return nil
}

// stale decides what stands for the list of a side that cannot be asked: what was seen
// last, or nothing once the time for both to start has passed.
func (m *Mux) stale(s *side, seen bool, err error) error {
	if !seen && time.Now().Before(m.grace) {
		return status.Errorf(codes.Unavailable, "%s was not seen yet: %v", s.name, status.Convert(err).Message())
	}
	return nil
}

func (m *Mux) listPods(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.ListPodSandboxRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	answers, errs, err := both(ctx, m, q, ofRuntime(runtimeapi.RuntimeServiceClient.ListPodSandbox))
	if err := first(err, refused(errs)); err != nil {
		return err
	}
	resp := &runtimeapi.ListPodSandboxResponse{}
	for i, s := range m.sides {
		if errs[i] == nil {
			s.learnPods(answers[i].GetItems(), proto.Size(q.GetFilter()) == 0)
			resp.Items = append(resp.Items, answers[i].GetItems()...)
			continue
		}
		last, seen := s.lastPods(q.GetFilter())
		if err := m.stale(s, seen, errs[i]); err != nil {
			return err
		}
		resp.Items = append(resp.Items, last...)
	}
	return reply(out, resp)
}

func (m *Mux) listContainers(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.ListContainersRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	answers, errs, err := both(ctx, m, q, ofRuntime(runtimeapi.RuntimeServiceClient.ListContainers))
	if err := first(err, refused(errs)); err != nil {
		return err
	}
	resp := &runtimeapi.ListContainersResponse{}
	for i, s := range m.sides {
		if errs[i] == nil {
			s.learnContainers(answers[i].GetContainers(), proto.Size(q.GetFilter()) == 0)
			resp.Containers = append(resp.Containers, answers[i].GetContainers()...)
			continue
		}
		last, seen := s.lastContainers(q.GetFilter())
		if err := m.stale(s, seen, errs[i]); err != nil {
			return err
		}
		resp.Containers = append(resp.Containers, last...)
	}
	return reply(out, resp)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// merged answers with what both sides have, put together by add; a side without an answer
// adds nothing, and an error is only given when neither has one.
func merged[Q any, QP message[Q], R any, RP message[R]](m *Mux, ask question[Q, R], add func(to, from RP)) rule {
	return func(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
		q := new(Q)
		if err := decode(in, QP(q)); err != nil {
			return err
		}
		answers, errs, err := both(ctx, m, q, ask)
		if err := first(err, m.worst(errs)); err != nil {
			return err
		}
		resp := new(R)
		for i := range answers {
			if errs[i] == nil {
				add(resp, answers[i])
			}
		}
		return reply(out, RP(resp))
	}
}

func (m *Mux) listContainerStats(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	return merged(m, ofRuntime(runtimeapi.RuntimeServiceClient.ListContainerStats), func(to, from *runtimeapi.ListContainerStatsResponse) { to.Stats = append(to.Stats, from.GetStats()...) })(ctx, method, in, out)
}

func (m *Mux) listPodStats(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	return merged(m, ofRuntime(runtimeapi.RuntimeServiceClient.ListPodSandboxStats), func(to, from *runtimeapi.ListPodSandboxStatsResponse) {
		to.Stats = append(to.Stats, from.GetStats()...)
	})(ctx, method, in, out)
}

func (m *Mux) listPodMetrics(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	return merged(m, ofRuntime(runtimeapi.RuntimeServiceClient.ListPodSandboxMetrics), func(to, from *runtimeapi.ListPodSandboxMetricsResponse) {
		to.PodMetrics = append(to.PodMetrics, from.GetPodMetrics()...)
	})(ctx, method, in, out)
}

// listMetricDescriptors describes each metric once, as ours says.
func (m *Mux) listMetricDescriptors(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	return merged(m, ofRuntime(runtimeapi.RuntimeServiceClient.ListMetricDescriptors), func(to, from *runtimeapi.ListMetricDescriptorsResponse) {
		for _, d := range from.GetDescriptors() {
			if !slices.ContainsFunc(to.Descriptors, func(o *runtimeapi.MetricDescriptor) bool { return o.GetName() == d.GetName() }) {
				to.Descriptors = append(to.Descriptors, d)
			}
		}
	})(ctx, method, in, out)
}

// version is ours.
func (m *Mux) version(ctx context.Context, method string, in []frame, out grpc.ServerStream) error {
	_, err := m.pass(ctx, m.ours(), method, in, out)
	return err
}

// runtimeConfig is upstream's where it has one: its containers are in the node's cgroups,
// and ours are not.
func (m *Mux) runtimeConfig(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.RuntimeConfigRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	answers, errs, err := both(ctx, m, q, ofRuntime(runtimeapi.RuntimeServiceClient.RuntimeConfig))
	if err := first(err, m.worst(errs)); err != nil {
		return err
	}
	if errs[1] == nil {
		return reply(out, answers[1])
	}
	return reply(out, answers[0])
}

// updateRuntimeConfig tells both; a side that has no such call is told nothing.
func (m *Mux) updateRuntimeConfig(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.UpdateRuntimeConfigRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	_, errs, err := both(ctx, m, q, ofRuntime(runtimeapi.RuntimeServiceClient.UpdateRuntimeConfig))
	for i := range errs {
		if status.Code(errs[i]) == codes.Unimplemented {
			errs[i] = nil
		}
	}
	if err := first(err, errs[0], errs[1]); err != nil {
		return err
	}
	return reply(out, &runtimeapi.UpdateRuntimeConfigResponse{})
}

// status is ready in what any side is ready in, with a condition more for each side. What
// handlers and the runtime can do is kept from a side that cannot be asked.
func (m *Mux) status(ctx context.Context, _ string, in []frame, out grpc.ServerStream) error {
	q := &runtimeapi.StatusRequest{}
	if err := decode(in, q); err != nil {
		return err
	}
	answers, errs, err := both(ctx, m, q, ofRuntime(runtimeapi.RuntimeServiceClient.Status))
	if err != nil {
		return err
	}
	resp := &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{}}
	for i, s := range m.sides {
		resp.Status.Conditions = mergeConditions(resp.Status.Conditions, answers[i].GetStatus().GetConditions(), s.name, errs[i])
		a := s.keepStatus(answers[i], errs[i])
		m.mergeHandlers(resp, s, a)
		mergeFeatures(resp, a, i == 0)
		if errs[i] == nil {
			resp.Info = mergeInfo(resp.Info, a.GetInfo(), i, s.name)
		}
	}
	return reply(out, resp)
}

func (s *side) keepStatus(r *runtimeapi.StatusResponse, err error) *runtimeapi.StatusResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.status = r
	}
	return s.status
}

// mergeConditions adds a side's conditions to those before, and the side's own.
func mergeConditions(all, add []*runtimeapi.RuntimeCondition, name string, err error) []*runtimeapi.RuntimeCondition {
	if err != nil {
		why := status.Convert(err)
		add = []*runtimeapi.RuntimeCondition{
			{Type: "RuntimeReady", Reason: why.Code().String(), Message: why.Message()},
			{Type: "NetworkReady", Reason: why.Code().String(), Message: why.Message()},
		}
	}
	own := &runtimeapi.RuntimeCondition{Type: name + "Ready", Status: true}
	for _, c := range add {
		if (c.GetType() == "RuntimeReady" || c.GetType() == "NetworkReady") && !c.GetStatus() && own.Status {
			own.Status, own.Reason, own.Message = false, c.GetReason(), c.GetType()+": "+c.GetMessage()
		}
		i := slices.IndexFunc(all, func(o *runtimeapi.RuntimeCondition) bool { return o.GetType() == c.GetType() })
		switch {
		case i < 0:
			all = append(all, proto.CloneOf(c))
		case all[i].GetStatus():
		case c.GetStatus():
			all[i] = proto.CloneOf(c)
		default:
			all[i].Message = fmt.Sprintf("%s; %s: %s", all[i].GetMessage(), name, c.GetMessage())
		}
	}
	return append(all, own)
}

// mergeHandlers adds the handlers that go to this side.
func (m *Mux) mergeHandlers(resp *runtimeapi.StatusResponse, s *side, a *runtimeapi.StatusResponse) {
	for _, h := range a.GetRuntimeHandlers() {
		if m.handlerOwner(h.GetName()) == s {
			resp.RuntimeHandlers = append(resp.RuntimeHandlers, h)
		}
	}
}

// mergeFeatures keeps what both sides can do: the kubelet takes features for the node's.
func mergeFeatures(resp, a *runtimeapi.StatusResponse, isFirst bool) {
	if isFirst {
		resp.Features = proto.CloneOf(a.GetFeatures())
		return
	}
	if a == nil {
		return // never seen: no pod runs on it yet
	}
	f, o := resp.GetFeatures(), a.GetFeatures()
	resp.Features = &runtimeapi.RuntimeFeatures{
		SupplementalGroupsPolicy:  f.GetSupplementalGroupsPolicy() && o.GetSupplementalGroupsPolicy(),
		UserNamespacesHostNetwork: f.GetUserNamespacesHostNetwork() && o.GetUserNamespacesHostNetwork(),
		MountOptions:              f.GetMountOptions() && o.GetMountOptions(),
	}
}

// mergeInfo keeps our entries by their names, and upstream's with its name before.
func mergeInfo(all, add map[string]string, i int, name string) map[string]string {
	if len(add) == 0 {
		return all
	}
	if all == nil {
		all = map[string]string{}
	}
	for _, k := range slices.Sorted(maps.Keys(add)) {
		if i == 0 {
			all[k] = add[k]
		} else {
			all[name+"."+k] = add[k]
		}
	}
	return all
}
