package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// voltool is the host path of the program of test/e2e/voltool.
var voltool = sync.OnceValues(func() (string, error) {
	out := filepath.Join(env.server.Dir, "voltool") // goes with the server
	cmd := exec.Command("go", "build", "-o", out, "./voltool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return out, nil
})

func toolMount(t *testing.T) *cri.Mount {
	t.Helper()
	path, err := voltool()
	if err != nil {
		t.Fatal(err)
	}
	return &cri.Mount{ContainerPath: "/voltool", HostPath: path, Readonly: true}
}

func bind(at, host string) *cri.Mount { return &cri.Mount{ContainerPath: at, HostPath: host} }

// idle is a container that does nothing and has mounts.
func idle(name string, mounts ...*cri.Mount) *cri.ContainerConfig {
	c := sh(name, "exec sleep 100000")
	c.Mounts = mounts
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestVolumes(t *testing.T) {
	p := runPod(t, env.server)
	rw, ro, files, data, plain := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(ro, "x"), "read")
	write(t, filepath.Join(files, "one"), "first")
	write(t, filepath.Join(files, "sibling"), "secret")
	missing := filepath.Join(data, "made", "by-us")
	k := p.start(idle("all",
		bind("/outer/inner", data), // before what it is in
		bind("/outer", rw),
		&cri.Mount{ContainerPath: "/ro", HostPath: ro, Readonly: true, RecursiveReadOnly: true},
		bind("/one", filepath.Join(files, "one")),
		bind("/etc/hosts", filepath.Join(files, "one")),
		bind("/missing", missing),
		&cri.Mount{ContainerPath: "/plain", HostPath: plain, MountOptions: []string{"noexec", "nodev", "nosuid"}},
		toolMount(t),
	))
	t.Run("write", func(t *testing.T) {
		k.exec(`echo from the guest > /outer/g && mkdir /outer/d && ln -s g /outer/l && mkfifo /outer/p`)
		equal(t, "file", read(t, filepath.Join(rw, "g")), "from the guest\n")
		if st, err := os.Lstat(filepath.Join(rw, "p")); err != nil || st.Mode().Type() != os.ModeNamedPipe {
			t.Errorf("FIFO: %v, %v", st, err)
		}
		write(t, filepath.Join(rw, "h"), "from the host")
		equal(t, "file of the host", k.exec("cat /outer/h"), "from the host")
		k.exec("rm -r /outer/d && mv /outer/g /outer/g2")
		if _, err := os.Stat(filepath.Join(rw, "g2")); err != nil {
			t.Error(err)
		}
	})
	t.Run("nested", func(t *testing.T) {
		k.exec("echo deep > /outer/inner/f")
		equal(t, "file", read(t, filepath.Join(data, "f")), "deep\n")
		if _, err := os.Stat(filepath.Join(rw, "inner", "f")); err == nil {
			t.Error("the outer folder covers the inner one")
		}
	})
	t.Run("read_only", func(t *testing.T) {
		equal(t, "content", k.exec("cat /ro/x"), "read")
		got := k.exec("for c in 'touch /ro/y' 'rm /ro/x' 'chmod 700 /ro/x' 'mkdir /ro/d'; do $c 2>&1; done; true")
		if n := strings.Count(got, "Read-only file system"); n != 4 {
			t.Errorf("%d of 4 changes were refused:\n%s", n, got)
		}
		equal(t, "content on the host", read(t, filepath.Join(ro, "x")), "read")
	})
	t.Run("options", func(t *testing.T) {
		resp, err := p.s.Status(testContext(t), &cri.StatusRequest{})
		if err != nil || !resp.GetFeatures().GetMountOptions() {
			t.Errorf("features %v, %v: a kubelet would not ask for them", resp.GetFeatures(), err)
		}
		got := k.exec(`awk '$5 == "/plain" {print $6}' /proc/self/mountinfo`)
		for _, o := range []string{"noexec", "nodev", "nosuid"} {
			if !strings.Contains(got, o) {
				t.Errorf("mounted with %q, not %s", got, o)
			}
		}
		const program = "cp /bin/busybox /%s/busybox && chmod 755 /%s/busybox && /%s/busybox true 2>&1; true"
		equal(t, "a program elsewhere", k.exec(strings.ReplaceAll(program, "%s", "outer")), "")
		if got := k.exec(strings.ReplaceAll(program, "%s", "plain")); !strings.Contains(got, "Permission denied") {
			t.Errorf("a program on a mount with noexec: %q", got)
		}
	})
	t.Run("file", func(t *testing.T) {
		equal(t, "content", k.exec("cat /one"), "first")
		equal(t, "its siblings", k.exec("grep -rl secret / --include=sibling 2>/dev/null; true"), "")
		k.exec("printf changed > /one")
		equal(t, "on the host", read(t, filepath.Join(files, "one")), "changed")
		write(t, filepath.Join(files, "new"), "replaced")
		if err := os.Rename(filepath.Join(files, "new"), filepath.Join(files, "one")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the file in the guest is the new one", func() bool { return k.exec("cat /one") == "replaced" })
		equal(t, "/etc/hosts", k.exec("cat /etc/hosts"), "replaced")
	})
	t.Run("missing", func(t *testing.T) {
		k.exec("touch /missing/f")
		if _, err := os.Stat(filepath.Join(missing, "f")); err != nil {
			t.Error(err)
		}
	})
	t.Run("owners", func(t *testing.T) {
		k.exec("touch /outer/o && chown 1234:4321 /outer/o && chmod 4751 /outer/o")
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(rw, "o"), &st); err != nil {
			t.Fatal(err)
		}
		equal(t, "on the host", fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777), "1234:4321 4751")
		// As the kubelet makes a folder for a pod's fsGroup.
		group := filepath.Join(rw, "group")
		if err := os.Mkdir(group, 0o770); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(group, 0, 2000); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(group, 0o770|os.ModeSetgid); err != nil {
			t.Fatal(err)
		}
		equal(t, "in the guest", k.exec("cd /outer/group && touch f && mkdir d && stat -c '%g %a' . f d"), "2000 2770\n2000 644\n2000 2755")
	})
	t.Run("status", func(t *testing.T) {
		got := k.status().Mounts
		if len(got) != len(k.config.Mounts) || got[2].HostPath != ro || !got[2].Readonly || !got[2].RecursiveReadOnly {
			t.Errorf("mounts in the status: %v", got)
		}
	})
}

func TestVolumeEvents(t *testing.T) {
	p := runPod(t, env.server)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old"), "1")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "v1"), 0o755))
	must(os.Symlink("v1", filepath.Join(dir, "..data")))
	c := idle("watch", bind("/d", dir), toolMount(t))
	c.Command = []string{"/voltool", "watch", "/d"}
	k := p.start(c)
	eventually(t, "the folder is watched", func() bool { return strings.Contains(k.stdout(), "ready") })
	wantEvents := func(events ...string) {
		t.Helper()
		eventually(t, "events "+strings.Join(events, ", "), func() bool {
			text := k.stdout()
			for _, e := range events {
				at := strings.Index(text, e+"\n")
				if at < 0 {
					return false
				}
				text = text[at:]
			}
			return true
		})
	}
	write(t, filepath.Join(dir, "new"), "text")
	wantEvents("CREATE new", "MODIFY new", "CLOSE_WRITE new")
	write(t, filepath.Join(dir, "old"), "22")
	wantEvents("MODIFY old")
	must(os.Chmod(filepath.Join(dir, "old"), 0o600))
	wantEvents("ATTRIB old")
	must(os.Rename(filepath.Join(dir, "old"), filepath.Join(dir, "moved")))
	wantEvents("MOVED_FROM old", "MOVED_TO moved")
	must(os.Remove(filepath.Join(dir, "moved")))
	wantEvents("DELETE moved")
	// As the kubelet changes a config map.
	must(os.MkdirAll(filepath.Join(dir, "v2"), 0o755))
	must(os.Symlink("v2", filepath.Join(dir, "..data_tmp")))
	must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	wantEvents("MOVED_TO ..data")
}

func TestVolumeShared(t *testing.T) {
	p, q := runPod(t, env.server, named("a")), runPod(t, env.server, named("b"))
	dir := t.TempDir()
	tool := toolMount(t)
	holder := p.start(idle("holder", bind("/d", dir), tool))
	beside := p.start(idle("beside", bind("/elsewhere", dir)))
	other := q.start(idle("other", bind("/d", dir), tool))

	holder.exec("echo hello > /d/f")
	equal(t, "in the same pod", beside.exec("cat /elsewhere/f"), "hello")
	equal(t, "in another pod", other.exec("cat /d/f"), "hello")
	other.exec("echo changed > /d/f")
	eventually(t, "a change of another pod is seen", func() bool { return holder.exec("cat /d/f") == "changed" })
	for range 10 {
		holder.exec("echo a >> /d/log")
		other.exec("echo b >> /d/log")
	}
	equal(t, "lines that both appended", fmt.Sprint(strings.Count(read(t, filepath.Join(dir, "log")), "\n")), "20")

	holder.exec("mkfifo /tmp/hold; sleep 1000 > /tmp/hold & /voltool flock /d/lock < /tmp/hold > /tmp/out 2>&1 &")
	eventually(t, "the lock is taken", func() bool { return holder.exec("cat /tmp/out") == "locked" })
	got := other.exec("/voltool tryflock /d/lock < /dev/null 2>&1; true")
	if !strings.Contains(got, "resource temporarily unavailable") {
		t.Errorf("a lock that another pod holds: %q", got)
	}
	holder.remove()
	equal(t, "the lock of a container that is gone", other.exec("/voltool tryflock /d/lock < /dev/null 2>&1"), "locked")
}

func named(suffix string) func(*cri.PodSandboxConfig) {
	return func(c *cri.PodSandboxConfig) { c.Metadata.Name += "-" + suffix }
}

// TestVolumeMemory: an emptyDir of memory is a tmpfs of the host, in the folder of a pod.
func TestVolumeMemory(t *testing.T) {
	p := runPod(t, env.server)
	dir := filepath.Join(t.TempDir(), "pods", p.config.Metadata.Uid, "volumes", "kubernetes.io~empty-dir", "cache")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	k := p.start(idle("memory", bind("/cache", dir), toolMount(t)))
	k.exec("echo x > /cache/f && /voltool flock /cache/lock < /dev/null")
	equal(t, "file", read(t, filepath.Join(dir, "f")), "x\n")
	if got := k.exec("dd if=/dev/zero of=/cache/big bs=64k count=32 2>&1; true"); !strings.Contains(got, "No space left") {
		t.Errorf("past the size: %s", got)
	}
	k.remove()
}

func TestVolumeHostMounts(t *testing.T) {
	p := runPod(t, env.server)
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	live := bind("/live", dir)
	live.Propagation = cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	k := p.start(idle("live", live, bind("/private", dir)))
	if err := syscall.Mount("tmpfs", sub, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(sub, syscall.MNT_DETACH)
	write(t, filepath.Join(sub, "f"), "mounted later")
	eventually(t, "the mount is seen", func() bool { return k.exec("cat /live/sub/f 2>/dev/null; true") == "mounted later" })
	equal(t, "with private propagation", k.exec("ls /private/sub"), "")
	k.remove()

	ro, all := bind("/ro", dir), bind("/all", dir)
	ro.Readonly, all.Readonly, all.RecursiveReadOnly = true, true, true
	k = p.start(idle("read-only", ro, all))
	equal(t, "a read-only folder with a mount below",
		k.exec("touch /ro/g 2>&1; touch /ro/sub/g && rm /ro/sub/f && ls /ro/sub; rmdir /ro/sub 2>/dev/null || echo stays"),
		"touch: /ro/g: Read-only file system\ng\nstays")
	equal(t, "one that is recursively read-only", k.exec("touch /all/g /all/sub/h 2>&1; true"),
		"touch: /all/g: Read-only file system\ntouch: /all/sub/h: Read-only file system")
	k.remove()
}

func TestVolumeImage(t *testing.T) {
	p := runPod(t, env.server)
	id := p.s.pull(t, env.registry.layered)
	image := func(at, sub string) *cri.Mount {
		return &cri.Mount{ContainerPath: at, Image: &cri.ImageSpec{Image: id}, ImageSubPath: sub}
	}
	k := p.start(idle("image", image("/image", ""), image("/sub", "etc"), image("/file", "etc/passwd")))
	equal(t, "root", k.exec("ls /image/etc/passwd"), "/image/etc/passwd")
	equal(t, "sub path", k.exec("cat /sub/passwd"), k.exec("cat /image/etc/passwd"))
	equal(t, "file", k.exec("cat /file"), k.exec("cat /image/etc/passwd"))
	equal(t, "write", k.exec("touch /image/x 2>&1 | grep -o 'Read-only file system'"), "Read-only file system")
	_, err := p.tryCreate(idle("absent", image("/image", "no/such/folder")))
	refused(t, err, "no/such/folder", codes.InvalidArgument)
	k.remove()
}

// emptyDisk makes a disk of a kind that the host's hypervisor attaches.
func emptyDisk(t *testing.T, dir string, mib int64) string {
	t.Helper()
	if env.windows != nil {
		disk := filepath.Join(dir, "disk.vhdx")
		if out, err := exec.Command("qemu-img", "create", "-q", "-f", "vhdx", disk, fmt.Sprintf("%dM", mib)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return disk
	}
	disk := filepath.Join(dir, "disk.img")
	write(t, disk, "")
	if err := os.Truncate(disk, mib<<20); err != nil {
		t.Fatal(err)
	}
	return disk
}

func TestVolumeDisk(t *testing.T) {
	dir, scratch := t.TempDir(), t.TempDir()
	disk := emptyDisk(t, dir, 64)
	if err := os.Chown(scratch, 0, 2000); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(scratch, 0o770|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	annotate := func(c *cri.PodSandboxConfig) {
		c.Annotations = map[string]string{"porthole.run/disks": "/data", "porthole.run/scratch-disks": "/scratch=32Mi"}
	}
	p, q := runPod(t, env.server, annotate, named("a")), runPod(t, env.server, annotate, named("b"))
	k := p.start(idle("disk", bind("/data", disk), bind("/scratch", scratch)))
	l := p.start(idle("beside", bind("/data", disk)))
	k.exec("echo kept > /data/f; sync")
	equal(t, "in another container", l.exec("cat /data/f"), "kept")
	rights := "2000 2770"
	if !hostFolders() { // whose owners and modes are told with them
		rights = "0 755"
	}
	equal(t, "a new file system", k.exec("ls -A /scratch; stat -c '%g %a' /scratch"), rights)
	if got := k.exec("dd if=/dev/zero of=/scratch/big bs=1M count=64 2>&1; true"); !strings.Contains(got, "No space left") {
		t.Errorf("past the scratch disk's size: %s", got)
	}
	_, err := q.tryCreate(idle("second", bind("/data", disk)))
	refused(t, err, q.s.HostPath(disk), codes.FailedPrecondition)
	k.exec("echo not synced > /data/g")
	stopPod(t, p)
	m := q.start(idle("third", bind("/data", disk)))
	equal(t, "in another VM afterwards", m.exec("cat /data/f /data/g"), "kept\nnot synced")
	m.remove()
}

func stopPod(t *testing.T, p *pod) {
	t.Helper()
	if _, err := p.s.StopPodSandbox(testContext(t), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		t.Fatal(err)
	}
}

func TestVolumeDaemonKilled(t *testing.T) {
	s := ownServer(t, serverConfig{})
	p := runPod(t, s)
	dir := t.TempDir()
	k := p.start(idle("app", bind("/d", dir)))
	k.exec("echo before > /d/f; exec 3>/d/open; rm /d/open; echo >&3")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	equal(t, "after a restart", k.exec("cat /d/f"), "before")
	k.exec("echo after > /d/f")
	equal(t, "on the host", read(t, filepath.Join(dir, "f")), "after\n")
	if got := k.status().Mounts; len(got) != 1 || got[0].HostPath != dir {
		t.Errorf("mounts in the status: %v", got)
	}
	l := p.start(idle("second", bind("/d", dir)))
	equal(t, "in a new container", l.exec("cat /d/f"), "after")
}

func TestVolumesRefused(t *testing.T) {
	p := runPod(t, env.server)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "")
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	many := make([]*cri.Mount, 257)
	for i := range many {
		many[i] = bind(fmt.Sprintf("/m%d", i), dir)
	}
	propagated := func(m *cri.Mount, p cri.MountPropagation) *cri.Mount { m.Propagation = p; return m }
	for _, c := range []struct {
		name, names string
		mounts      []*cri.Mount
		code        codes.Code
	}{
		{"no-host-path", "host_path", []*cri.Mount{bind("/d", "")}, codes.InvalidArgument},
		{"no-container-path", "container_path", []*cri.Mount{bind("", dir)}, codes.InvalidArgument},
		{"relative", "container_path", []*cri.Mount{bind("d", dir)}, codes.InvalidArgument},
		{"dots", "host_path", []*cri.Mount{bind("/d", dir+"/../x")}, codes.InvalidArgument},
		{"root", "container_path", []*cri.Mount{bind("/", dir)}, codes.InvalidArgument},
		{"many", "config.mounts", many, codes.InvalidArgument},
		{"fifo", "a FIFO", []*cri.Mount{bind("/d", filepath.Join(dir, "fifo"))}, codes.InvalidArgument},
		{"below-a-file", "file/x", []*cri.Mount{bind("/d", filepath.Join(dir, "file", "x"))}, codes.FailedPrecondition},
		{"bidirectional", "bidirectional", []*cri.Mount{propagated(bind("/d", dir), cri.MountPropagation_PROPAGATION_BIDIRECTIONAL)}, codes.Unimplemented},
		{"file-propagation", "private propagation", []*cri.Mount{propagated(bind("/d", filepath.Join(dir, "file")), cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER)}, codes.InvalidArgument},
		{"recursive-alone", "recursive_read_only", []*cri.Mount{{ContainerPath: "/d", HostPath: dir, RecursiveReadOnly: true}}, codes.InvalidArgument},
		{"mapped", "Mappings", []*cri.Mount{{ContainerPath: "/d", HostPath: dir, UidMappings: []*cri.IDMapping{{Length: 1}}}}, codes.InvalidArgument},
		{"image-missing", "absent", []*cri.Mount{{ContainerPath: "/d", Image: &cri.ImageSpec{Image: "absent"}}}, codes.NotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := *p
			q.t = t
			_, err := q.tryCreate(idle(c.name, c.mounts...))
			refused(t, err, c.names, c.code)
		})
	}
}

// TestMountThroughLinks has an image with links to what is not there, as systemd makes one
// of /etc/resolv.conf: what is mounted there is where the link leads, in the container's
// own root file system.
func TestMountThroughLinks(t *testing.T) {
	p := runPod(t, env.server, func(c *cri.PodSandboxConfig) {
		c.DnsConfig = &cri.DNSConfig{Servers: []string{"192.0.2.53"}}
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("of the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := sh("links", "cat /etc/resolv.conf /run/systemd/resolve/stub-resolv.conf /data/new/file /srv/data/new/file")
	c.Image.Image = env.registry.links
	c.Mounts = []*cri.Mount{{HostPath: dir, ContainerPath: "/data/new"}}
	k := p.start(c)
	if st := k.wait(); st.ExitCode != 0 {
		t.Errorf("cat ended with %d", st.ExitCode)
	}
	got := k.stdout()
	want := "nameserver 192.0.2.53\nnameserver 192.0.2.53\nof the hostof the host"
	if got != want {
		t.Errorf("the container reads\n%s\nnot\n%s", got, want)
	}
	c = sh("loop", "true")
	c.Image.Image = env.registry.links
	c.Mounts = []*cri.Mount{{HostPath: dir, ContainerPath: "/loop/x"}}
	_, err := p.tryCreate(c)
	refused(t, err, "/loop/x", codes.InvalidArgument)
}
