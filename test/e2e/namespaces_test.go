package e2e

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// namespaces gives a pod's or a container's security context its options.
func podNamespaces(o *cri.NamespaceOption) func(*cri.PodSandboxConfig) {
	return func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{NamespaceOptions: o}
	}
}

func inNamespaces(c *cri.ContainerConfig, o *cri.NamespaceOption) *cri.ContainerConfig {
	c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{NamespaceOptions: o}
	return c
}

// TestHostNamespaces: the host's namespaces are refused with the key that changes that, and
// are those of the VM then.
func TestHostNamespaces(t *testing.T) {
	for name, o := range map[string]*cri.NamespaceOption{
		"network": {Network: cri.NamespaceMode_NODE}, "pid": {Pid: cri.NamespaceMode_NODE}, "ipc": {Ipc: cri.NamespaceMode_NODE},
	} {
		c := podConfig(t)
		podNamespaces(o)(c)
		_, err := env.server.RunPodSandbox(testContext(t), &cri.RunPodSandboxRequest{Config: c})
		refused(t, err, "namespace_options."+name, codes.Unimplemented)
		refused(t, err, "host_namespaces", codes.Unimplemented)
	}

	s := ownServer(t, serverConfig{vm: `host_namespaces = "vm"`})
	node := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_NODE, Ipc: cri.NamespaceMode_NODE}
	p := runPod(t, s, podNamespaces(node))
	web := p.start(inNamespaces(sh("web", "mkdir /tmp/w; echo of the vm > /tmp/w/index.html; exec busybox httpd -f -p 80 -h /tmp/w"), node))
	looks := inNamespaces(sh("peer", "exec sleep 600"), node)
	looks.Linux.SecurityContext.Capabilities = &cri.Capability{AddCapabilities: []string{"SYS_PTRACE"}} // to read whose namespaces others are in
	peer := p.start(looks)
	own := p.start(inNamespaces(sh("own", "exec sleep 600"), &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}))

	if got := peer.exec("cat /proc/1/comm"); !strings.HasPrefix(got, "porthole-agent") && got != "init" {
		t.Errorf("process 1 of the VM's PID namespace is %q, want the agent", got)
	}
	if got := peer.exec("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done"); !strings.Contains(got, "httpd -f -p 80") {
		t.Errorf("a container does not see the other's process:\n%s", got)
	}
	if got := own.exec("cat /proc/1/comm"); got != "sleep" {
		t.Errorf("process 1 of a container with its own PID namespace is %q", got)
	}
	for _, kind := range []string{"net", "ipc"} {
		link := "readlink /proc/%/ns/" + kind
		if one, own := peer.exec(strings.Replace(link, "%", "1", 1)), peer.exec(strings.Replace(link, "%", "self", 1)); one != own {
			t.Errorf("%s namespace is %s, the VM's is %s", kind, own, one)
		}
	}
	ip := p.status().Network.GetIp()
	if got := peer.exec("ip addr show eth0"); !strings.Contains(got, ip+"/") {
		t.Errorf("the VM's network lacks the pod's address %s:\n%s", ip, got)
	}
	if got := peer.exec("wget -q -O - http://127.0.0.1/"); got != "of the vm" {
		t.Errorf("a page over the VM's loopback: %q", got)
	}
	if got := web.status().State; got != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the server is %v", got)
	}
	o := p.status().GetLinux().GetNamespaces().GetOptions()
	if o.GetNetwork() != cri.NamespaceMode_NODE || o.GetPid() != cri.NamespaceMode_NODE || o.GetIpc() != cri.NamespaceMode_NODE {
		t.Errorf("status shows %v", o)
	}
	// Processes left of a container in the VM's PID namespace end with it.
	if _, err := s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: web.id}); err != nil {
		t.Fatal(err)
	}
	if got := peer.exec("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done"); strings.Contains(got, "httpd -f -p 80") {
		t.Errorf("a stopped container's process runs on:\n%s", got)
	}
}

// TestTargetContainer: a container of the mode TARGET, as kubectl debug makes it, is in the
// PID namespace of another.
func TestTargetContainer(t *testing.T) {
	own := &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
	p := runPod(t, env.server, podNamespaces(own))
	app := p.start(inNamespaces(sh("app", "echo secret > /tmp/file; exec sleep 4711"), own))
	debug := p.start(inNamespaces(sh("debug", "exec sleep 600"), &cri.NamespaceOption{Pid: cri.NamespaceMode_TARGET, TargetId: app.id}))
	if got := debug.exec("tr '\\0' ' ' < /proc/1/cmdline"); !strings.HasPrefix(got, "sleep 4711") {
		t.Errorf("process 1 that the debugger sees is %q", got)
	}
	if got := debug.exec("cat /proc/1/root/tmp/file"); got != "secret" {
		t.Errorf("the other's file: %q", got)
	}
	other := runPod(t, env.server, func(c *cri.PodSandboxConfig) { c.Metadata.Name = "other" })
	_, err := other.tryCreate(inNamespaces(sh("x", "true"), &cri.NamespaceOption{Pid: cri.NamespaceMode_TARGET, TargetId: app.id}))
	refused(t, err, "another pod", codes.InvalidArgument)
	if _, err := p.s.StopContainer(testContext(t), &cri.StopContainerRequest{ContainerId: app.id}); err != nil {
		t.Fatal(err)
	}
	if got := debug.wait(); got.ExitCode != 137 {
		t.Errorf("the debugger exited with %d when the namespace's first process ended, want 137", got.ExitCode)
	}
	_, err = p.tryCreate(inNamespaces(sh("late", "true"), &cri.NamespaceOption{Pid: cri.NamespaceMode_TARGET, TargetId: app.id}))
	refused(t, err, "target_id", codes.FailedPrecondition)
}

// TestUserNamespace: root of a pod with a user namespace is nobody in its VM, owns the
// image's files and what it is given, and has no power beyond.
func TestUserNamespace(t *testing.T) {
	ids := []*cri.IDMapping{{HostId: 70000, Length: 65536}}
	users := &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: ids, Gids: ids}
	o := &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER, UsernsOptions: users}
	disk := t.TempDir()
	p := runPod(t, env.server, podNamespaces(o), func(c *cri.PodSandboxConfig) {
		c.Annotations = map[string]string{"porthole.run/scratch-disks": "/disk=64Mi"}
	})
	mapped := func(m *cri.Mount) *cri.Mount { m.UidMappings, m.GidMappings = ids, ids; return m }
	c := inNamespaces(idle("k", mapped(bind("/disk", disk))), o)
	c.WorkingDir = "/made/by/us"
	k := p.start(c)
	for what, want := range map[string]string{
		"cat /proc/self/uid_map | tr -s ' '": "0 70000 65536",
		"id -u":                              "0",
		"stat -c %u:%g /bin /etc /made/by/us /etc/hosts | sort -u":   "0:0",
		"touch /new && stat -c %u /new":                              "0",
		"echo x >> /etc/hosts && tail -1 /etc/hosts":                 "x",
		"touch /disk/f && stat -c %u:%g /disk /disk/f | sort -u":     "0:0",
		"touch /own && chown 1000:1000 /own && stat -c %u:%g /own":   "1000:1000",
		"touch /dev/shm/x && stat -c %u /dev/shm/x":                  "0",
		"echo y > /dev/null && head -c 3 /dev/zero | wc -c":          "3",
		"mount -t tmpfs none /tmp 2>&1 | grep -c -i 'perm\\|denied'": "1",
	} {
		if got := strings.TrimSpace(k.exec(what)); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	if got := p.status().GetLinux().GetNamespaces().GetOptions().GetUsernsOptions(); got.GetMode() != cri.NamespaceMode_POD || len(got.GetUids()) != 1 || got.GetUids()[0].GetHostId() != 70000 {
		t.Errorf("status shows %v", got)
	}
	demo := p.output("demo", "id -un; cat /proc/self/uid_map | tr -s ' '; touch ~/x && stat -c %U ~/x", func(c *cri.ContainerConfig) {
		inNamespaces(c, o)
		c.Linux.SecurityContext.RunAsUsername = "demo"
	})
	if got := strings.Join(strings.Fields(demo), " "); got != "demo 0 70000 65536 demo" {
		t.Errorf("a user of the image: %q", got)
	}
	beyond := inNamespaces(sh("beyond", "true"), o)
	beyond.Linux.SecurityContext.RunAsUser = &cri.Int64Value{Value: 65536}
	_, err := p.tryCreate(beyond)
	refused(t, err, "65536", codes.InvalidArgument)
	elsewhere := inNamespaces(sh("elsewhere", "true"), &cri.NamespaceOption{UsernsOptions: &cri.UserNamespace{
		Uids: []*cri.IDMapping{{HostId: 1, Length: 5}}, Gids: []*cri.IDMapping{{HostId: 1, Length: 5}}}})
	_, err = p.tryCreate(elsewhere)
	refused(t, err, "userns_options", codes.InvalidArgument)

	// A folder of the host: what is root's there is root's in the pod, and the other way.
	t.Run("folder", func(t *testing.T) {
		shared := t.TempDir()
		write(t, filepath.Join(shared, "of-root"), "text")
		f := p.start(inNamespaces(idle("share", mapped(bind("/shared", shared))), o))
		for what, want := range map[string]string{
			"stat -c %u:%g /shared/of-root": "0:0",
			"cat /shared/of-root":           "text",
			"touch /shared/new && chown 33:34 /shared/new && stat -c %u:%g /shared/new": "33:34",
		} {
			if got := f.exec(what); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		if uid, gid := owner(t, filepath.Join(shared, "new")); uid != 33 || gid != 34 {
			t.Errorf("what the pod made belongs to %d:%d on the host, want 33:34", uid, gid)
		}
	})
}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid, st.Gid
}
