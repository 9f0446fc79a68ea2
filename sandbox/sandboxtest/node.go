package sandboxtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
)

// Node is a simulated host. Use New.
type Node struct {
	mu       sync.Mutex // guards the fields below
	shims    map[string]*shimProcess
	networks map[string]string // pod id to "10.88.0.2"
	attached map[string]sandbox.PodNetwork
	scratch  map[string]int64    // path to size
	holds    map[string][]string // image to container ids
	groups   map[string]string   // pod id to the parent of its control group
	limits   map[string]int64    // parent to memory limit
	images   map[string]sandbox.RootFS
	lastIP   int
	calls    int
	failAt   map[int]bool
	failCall map[string]error
	log      []string
	silent   bool // calls are not kept in log
	ready    error
	bridge   func(call string) // runs in each call, without mu
}

// New makes a Node that has the images "busybox" and "stubborn"; the latter's
// containers do not end on SIGTERM.
func New() *Node {
	n := &Node{
		shims:    make(map[string]*shimProcess),
		networks: make(map[string]string),
		attached: make(map[string]sandbox.PodNetwork),
		scratch:  make(map[string]int64),
		holds:    make(map[string][]string),
		groups:   make(map[string]string),
		limits:   make(map[string]int64),
		images:   make(map[string]sandbox.RootFS),
		failAt:   make(map[int]bool),
		failCall: make(map[string]error),
	}
	for _, name := range []string{"busybox", StubbornImage} {
		n.AddImage(name, sandbox.ImageConfig{Cmd: []string{"sh"}})
	}
	return n
}

// StubbornImage is the image whose containers ignore all signals but SIGKILL.
const StubbornImage = "stubborn"

// AddImage adds an image whose id is "sha256:" and its name.
func (n *Node) AddImage(name string, c sandbox.ImageConfig) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.images[name] = sandbox.RootFS{
		ImageID: "sha256:" + name,
		Layers:  []sandbox.Layer{{DiffID: "sha256:layer-" + name, Path: "/layers/" + name + ".vhd"}},
		Config:  c,
	}
}

// FailAt makes the given calls, counted from now and from 1, fail without effect.
func (n *Node) FailAt(calls ...int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = 0
	clear(n.failAt)
	for _, c := range calls {
		n.failAt[c] = true
	}
}

// FailFrom makes all calls from the given one on, counted from now and from 1, fail.
func (n *Node) FailFrom(first int) {
	calls := make([]int, 200)
	for i := range calls {
		calls[i] = first + i
	}
	n.FailAt(calls...)
}

// Fail makes every call of that name ("SetupPod") fail with err; nil ends that.
func (n *Node) Fail(call string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		delete(n.failCall, call)
		return
	}
	n.failCall[call] = err
}

// OnCall runs f at the start of each call with its name; f may block. Nil ends that.
func (n *Node) OnCall(f func(call string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.bridge = f
}

// SetNetworkReady sets what Network.Ready answers.
func (n *Node) SetNetworkReady(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ready = err
}

// TakeCalls returns the calls since the last TakeCalls, such as "Launch", in order, and forgets them.
func (n *Node) TakeCalls() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	log := n.log
	n.log = nil
	return log
}

// ForgetCalls lets TakeCalls have none from now on, as those of a long run would fill the memory.
func (n *Node) ForgetCalls() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log, n.silent = nil, true
}

// Reboot ends all VMs, as a power cut does: what the kernel held is gone, what is on
// disk (scratch, the network's address leases, image holds) is left.
func (n *Node) Reboot() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, s := range n.shims {
		s.end(fmt.Errorf("power cut"))
		delete(n.shims, id)
	}
}

// KillVM ends a VM with a reason, as a panic of its kernel does.
func (n *Node) KillVM(id, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s, ok := n.shims[id]; ok {
		s.end(fmt.Errorf("%s", reason))
		delete(n.shims, id)
	}
}

// Exit ends a container's process.
func (n *Node) Exit(containerID string, x sandbox.Exit) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.shims {
		if c, ok := s.containers[containerID]; ok {
			c.finish(x)
		}
	}
}

// Hang makes a VM's guest not answer when it is asked for figures, or to make a pod.
func (n *Node) Hang(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shims[id].hung = true
}

// AddStrayShim starts a shim that nobody asked for.
func (n *Node) AddStrayShim(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shims[id] = newShimProcess(sandbox.ShimConfig{ID: id, VCPUs: 1, MemoryMiB: 128})
}

// AddStrayContainer makes a container that no record knows in a VM.
func (n *Node) AddStrayContainer(vmID, id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.shims[vmID].containers[id] = newContainer(sandbox.ContainerSetup{PodID: vmID, ContainerID: id})
}

// String prints all that the node holds, in order, one thing a line. An empty string
// means that nothing is left.
func (n *Node) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var lines []string
	for id, s := range n.shims {
		lines = append(lines, fmt.Sprintf("vm %s %d vcpus %d MiB", short(id), s.config.VCPUs, s.config.MemoryMiB))
		for pod, setup := range s.pods {
			lines = append(lines, fmt.Sprintf("vm %s pod %s hostname %s", short(id), short(pod), setup.Hostname))
		}
		for cid, c := range s.containers {
			lines = append(lines, fmt.Sprintf("vm %s container %s %s", short(id), short(cid), c.status()))
		}
	}
	for id, ip := range n.networks {
		lines = append(lines, fmt.Sprintf("network %s %s", short(id), ip))
	}
	for path, size := range n.scratch {
		parts := strings.Split(strings.ReplaceAll(path, `\`, "/"), "/")
		lines = append(lines, fmt.Sprintf("scratch %s %d", short(parts[max(0, len(parts)-2)]), size))
	}
	for id, parent := range n.groups {
		lines = append(lines, fmt.Sprintf("cgroup %s/%s", parent, short(id)))
	}
	for image, ids := range n.holds {
		for _, id := range ids {
			lines = append(lines, fmt.Sprintf("image %s held by %s", image, short(id)))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}

// call counts a call and says whether it is to fail. It locks mu; on success the
// caller unlocks it.
func (n *Node) call(ctx context.Context, name string) error {
	n.mu.Lock()
	bridge := n.bridge
	n.mu.Unlock()
	if bridge != nil {
		bridge(name)
	}
	n.mu.Lock()
	n.calls++
	if !n.silent {
		n.log = append(n.log, name)
	}
	err := ctx.Err()
	if err == nil {
		err = n.failCall[name]
	}
	if err == nil && n.failAt[n.calls] {
		err = fmt.Errorf("%s: call %d was told to fail: %w", name, n.calls, errdefs.ErrInternal)
	}
	if err != nil {
		n.mu.Unlock()
	}
	return err
}

// Step counts as a call of that name, for what a test does itself, such as writing
// records: it fails when such a call would.
func (n *Node) Step(ctx context.Context, name string) error {
	err := n.call(ctx, name)
	if err == nil {
		n.mu.Unlock()
	}
	return err
}

// Images, Network, Scratch and Specs are the Node seen through package sandbox's interfaces.
type (
	Images  struct{ *Node }
	Network struct{ *Node }
	Scratch struct{ *Node }
	Cgroups struct{ *Node }
	Specs   struct{ *Node }
)

var (
	_ sandbox.Images   = Images{}
	_ sandbox.Network  = Network{}
	_ sandbox.Scratch  = Scratch{}
	_ sandbox.Cgroups  = Cgroups{}
	_ sandbox.Specs    = Specs{}
	_ sandbox.Launcher = Launcher{}
	_ sandbox.Shim     = (*Shim)(nil)
)

// Config is a Manager's configuration on the node.
func (n *Node) Config(root string) sandbox.Config {
	return sandbox.Config{
		Root: root, Launcher: Launcher{n}, Images: Images{n}, Network: Network{n}, Specs: Specs{n}, Scratch: Scratch{n}, Cgroups: Cgroups{n},
		Handlers: map[string]sandbox.Handler{
			"":            {VCPUs: 1, MemoryMiB: 256, MaxMemoryMiB: 4096, ScratchBytes: 1 << 30},
			SharedHandler: {VCPUs: 2, MemoryMiB: 1024, ScratchBytes: 1 << 30, Sharing: &sandbox.Sharing{Pods: 4, Annotation: SharedAnnotation}},
		},
		HostResolvConf: []string{},
	}
}

// Prepare implements sandbox.Images.
func (i Images) Prepare(ctx context.Context, ref, containerID string) (sandbox.RootFS, error) {
	if err := i.call(ctx, "Prepare"); err != nil {
		return sandbox.RootFS{}, err
	}
	defer i.mu.Unlock()
	r, ok := i.images[strings.TrimPrefix(ref, "sha256:")]
	if !ok {
		return sandbox.RootFS{}, fmt.Errorf("image %q is not on this node, pull it first: %w", ref, errdefs.ErrNotFound)
	}
	if !slices.Contains(i.holds[r.ImageID], containerID) {
		i.holds[r.ImageID] = append(i.holds[r.ImageID], containerID)
	}
	return r, nil
}

// Release implements sandbox.Images.
func (i Images) Release(ctx context.Context, containerID string) error {
	if err := i.call(ctx, "Release"); err != nil {
		return err
	}
	defer i.mu.Unlock()
	for image, ids := range i.holds {
		i.holds[image] = slices.DeleteFunc(ids, func(id string) bool { return id == containerID })
	}
	return nil
}

// Holders implements sandbox.ImageHolders.
func (i Images) Holders() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []string
	for _, ids := range i.holds {
		out = append(out, ids...)
	}
	slices.Sort(out)
	return out
}

// Attach implements sandbox.Network.
func (w Network) Attach(ctx context.Context, p sandbox.PodNetwork) (sandbox.NetworkResult, error) {
	if err := w.call(ctx, "Attach"); err != nil {
		return sandbox.NetworkResult{}, err
	}
	defer w.mu.Unlock()
	if _, ok := w.networks[p.ID]; ok {
		return sandbox.NetworkResult{}, fmt.Errorf("network of %s: %w", p.ID, errdefs.ErrAlreadyExists)
	}
	w.lastIP++
	ip := fmt.Sprintf("10.88.%d.%d", w.lastIP/250, w.lastIP%250+2)
	w.networks[p.ID], w.attached[p.ID] = ip, p
	return sandbox.NetworkResult{
		Namespace: "/run/netns/" + p.ID,
		NICs: []sandbox.PodNIC{{
			NIC:       sandbox.NIC{Name: "eth0", Namespace: "/run/netns/" + p.ID, Interface: "eth0"},
			Addresses: []string{ip + "/16"},
		}},
		IPs:        []string{ip},
		DNSServers: []string{"10.88.0.1"},
	}, nil
}

// Detach implements sandbox.Network.
func (w Network) Detach(ctx context.Context, p sandbox.PodNetwork) error {
	if err := w.call(ctx, "Detach"); err != nil {
		return err
	}
	defer w.mu.Unlock()
	delete(w.networks, p.ID)
	return nil
}

// Ready implements sandbox.Network.
func (w Network) Ready(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ready
}

// Spec implements sandbox.Specs.
func (s Specs) Spec(ctx context.Context, _ sandbox.PodConfig, c sandbox.ContainerConfig, img sandbox.ImageConfig) (*specs.Spec, sandbox.User, error) {
	if err := s.call(ctx, "Spec"); err != nil {
		return nil, sandbox.User{}, err
	}
	defer s.mu.Unlock()
	args := append(slices.Clone(c.Command), c.Args...)
	if len(args) == 0 {
		args = img.Cmd
	}
	return &specs.Spec{Version: specs.Version, Process: &specs.Process{Args: args, Cwd: "/"}}, sandbox.User{Spec: img.User}, nil
}

// Limits implements sandbox.Specs: memory alone.
func (Specs) Limits(r sandbox.Resources) *specs.LinuxResources {
	return &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &r.MemoryLimit, Swap: &r.MemorySwapLimit}}
}

func exitNow(code int) sandbox.Exit { return sandbox.Exit{Code: code, At: time.Now()} }
