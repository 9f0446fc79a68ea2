package cri

import (
	"os"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// TestWindowsKubelet_HostUsers: a Windows kubelet says nothing of hostUsers and chooses no ids; the pod gets
// a user namespace all the same, of ids that are chosen here, and its containers are in it.
func TestWindowsKubelet_HostUsers(t *testing.T) {
	calls := recording(t)
	pods := podsOf(t, calls)
	for _, p := range pods {
		p.Spec.HostUsers, p.Spec.ShareProcessNamespace = new(bool), nil
		for i := range p.Spec.Containers {
			p.Spec.Containers[i].SecurityContext = nil
		}
	}
	run := request(t, "RunPodSandbox", find(t, calls, "RunPodSandbox").Req).(*runtimeapi.RunPodSandboxRequest)
	run.Config.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_CONTAINER
	create := request(t, "CreateContainer", find(t, calls, "CreateContainer").Req).(*runtimeapi.CreateContainerRequest)
	f := newFakeNode()
	s := windowsServer(t, f, pods, nil)
	resp, err := s.RunPodSandbox(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	create.PodSandboxId = resp.GetPodSandboxId()
	if _, err := s.CreateContainer(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	want := &sandbox.UserNamespace{UIDs: ownUsers, GIDs: ownUsers}
	if diff := cmp.Diff(want, f.pods[resp.GetPodSandboxId()].Config.Namespaces.Users); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
}

// TestWindows_Crictl: what the documents have an administrator ask with crictl needs no kubelet.
func TestWindows_Crictl(t *testing.T) {
	text, err := os.ReadFile("../docs/windows-install.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^    (\{"metadata.*\})$`).FindAllSubmatch(text, -1)
	if len(lines) != 2 {
		t.Fatalf("the document has %d requests", len(lines))
	}
	pod, container := &runtimeapi.PodSandboxConfig{}, &runtimeapi.ContainerConfig{}
	if err := protojson.Unmarshal(lines[0][1], pod); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(lines[1][1], container); err != nil {
		t.Fatal(err)
	}
	f := newFakeNode()
	s := windowsServer(t, f, downPods{}, nil)
	f.images[container.GetImage().GetImage()] = Image{ID: recordedImage}
	run, err := s.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: pod})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: run.GetPodSandboxId(), Config: container, SandboxConfig: pod}); err != nil {
		t.Fatal(err)
	}
}
