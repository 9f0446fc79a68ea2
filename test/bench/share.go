package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/apps/appimage"
	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry"
	"github.com/porthole-run/porthole/test/registry/debimage"
)

// Where a load runs, and the columns of the table.
const (
	ownDisk  = "own disk"
	onShare  = "share"
	shareTCP = "share, TCP"
	plan9TCP = "9P, TCP"
)

// shareBench measures shares: a folder of the host as a pod has it, the pod's own disk,
// and FUSE and 9P over the same kind of stream to the same host folder.
type shareBench struct {
	options
	server   *harness.Server
	registry *registry.Registry
	dir      string // on the run's own file system
	pods     int
	report   shareReport
}

// measureShares sets up, takes the samples, and says on stderr how far it is.
func measureShares(ctx context.Context, o options, u *undo) (*shareReport, error) {
	dir, err := isolate(ctx, u)
	if err != nil {
		return nil, err
	}
	load := loadAverage()
	b := &shareBench{options: o, dir: dir}
	if b.registry, err = startRegistry(u); err != nil {
		return nil, err
	}
	say("building the images")
	if err := b.push(ctx); err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "p")
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, err
	}
	b.server, err = harness.New(harness.Config{Dir: home, Bin: o.bin, Guest: o.guest, CNIConf: deploy.CNIConf, VM: "memory = \"1GiB\""})
	if err != nil {
		return nil, err
	}
	if err := b.server.Start(ctx); err != nil {
		return nil, err
	}
	u.add(b.server.Stop)
	if err := b.server.AwaitTemplates(ctx); err != nil {
		return nil, err
	}
	for _, stage := range []func(context.Context, *undo) error{b.files, b.pgbench} {
		if err := stage(ctx, u); ctx.Err() != nil {
			return nil, errors.New("interrupted: what the run made is taken down")
		} else if err != nil {
			return nil, fmt.Errorf("%w\nPorthole's log ends with\n%s", err, b.server.LogTail())
		}
	}
	notes, err := machineNotes(ctx, o, b.server, load)
	if err != nil {
		return nil, err
	}
	notes = append(notes, fmt.Sprintf("The medians of %d rounds.", o.n))
	b.report.notes = append(notes, b.report.notes...)
	return &b.report, nil
}

// push builds the images and serves them. The programs of the first run inside the VM.
func (b *shareBench) push(ctx context.Context) error {
	load, err := os.ReadFile(filepath.Join(b.bin, "shareload"))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "relay-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := command(ctx, "gcc", "-O2", "-std=gnu11", "-pthread", "-static", "-o", filepath.Join(tmp, "relay"), b.relaySource); err != nil {
		return err
	}
	relay, err := os.ReadFile(filepath.Join(tmp, "relay"))
	if err != nil {
		return err
	}
	spec, err := debimage.SampleSpec(ctx, b.debs())
	if err != nil {
		return err
	}
	spec.Files = append(spec.Files, map[string]debimage.File{
		"shareload": {Mode: 0o755, Content: string(load)}, "relay": {Mode: 0o755, Content: string(relay)}, "scratch": {Folder: true},
	})
	files, err := debimage.Build(ctx, spec)
	if err != nil {
		return err
	}
	postgres, err := appimage.Build(ctx, b.apps(), appimage.PostgreSQL)
	if err != nil {
		return err
	}
	for name, img := range map[string]v1.Image{"share": files, "postgresql": postgres} {
		if _, err := b.registry.Push(ctx, "bench/"+name, "1", img); err != nil {
			return err
		}
	}
	return nil
}

// shareContainer is one container in a pod of its own.
type shareContainer struct {
	bench *shareBench
	id    string
}

// start runs a pod with one container, whose host folder, if any, is at /share.
func (b *shareBench) start(ctx context.Context, image, folder string, uid int64, script string) (*shareContainer, error) {
	ref := b.registry.Host() + "/bench/" + image + ":1"
	if _, err := b.server.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: ref}}); err != nil {
		return nil, fmt.Errorf("PullImage: %w", err)
	}
	b.pods++
	name := fmt.Sprintf("share-%d", b.pods)
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Namespace: "bench", Uid: name},
		LogDirectory: filepath.Join(b.dir, "logs", name),
		Linux:        &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{Privileged: uid == 0}},
	}
	pod, err := b.server.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config})
	if err != nil {
		return nil, fmt.Errorf("RunPodSandbox: %w", err)
	}
	c := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: image},
		Image:    &cri.ImageSpec{Image: ref},
		Command:  []string{"/bin/sh", "-c", script},
		LogPath:  image + ".log",
		// It drops the kernel's caches and mounts.
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{
			Privileged: uid == 0, RunAsUser: &cri.Int64Value{Value: uid}, RunAsGroup: &cri.Int64Value{Value: uid},
		}},
	}
	if folder != "" {
		c.Mounts = []*cri.Mount{{ContainerPath: "/share", HostPath: folder}}
	}
	made, err := b.server.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: pod.PodSandboxId, Config: c, SandboxConfig: config})
	if err != nil {
		return nil, fmt.Errorf("CreateContainer: %w", err)
	}
	if _, err := b.server.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
		return nil, fmt.Errorf("StartContainer: %w", err)
	}
	return &shareContainer{bench: b, id: made.ContainerId}, nil
}

// run runs a command in the container and returns its standard output.
func (c *shareContainer) run(ctx context.Context, args ...string) (string, error) {
	const bound = 300 // seconds
	r, err := c.bench.server.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: c.id, Cmd: args, Timeout: bound})
	if err != nil {
		return "", fmt.Errorf("exec %s: %w", args[0], err)
	}
	if r.ExitCode != 0 {
		return "", fmt.Errorf("%s exited with %d: %s%s", strings.Join(args, " "), r.ExitCode, r.Stdout, r.Stderr)
	}
	return string(r.Stdout), nil
}

// files measures operations on files, all four ways in turn in one pod.
func (b *shareBench) files(ctx context.Context, u *undo) error {
	folder := filepath.Join(b.dir, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	fuse, err := serveShare(ctx, folder, u)
	if err != nil {
		return err
	}
	plan9, err := serve9P(ctx, b.apps(), b.dir, u)
	if err != nil {
		return err
	}
	c, err := b.start(ctx, "share", folder, 0, "exec sleep 1000000")
	if err != nil {
		return err
	}
	out, err := c.run(ctx, "/bin/sh", "-c", "ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'")
	if err != nil {
		return err
	}
	host := strings.TrimSpace(out)
	ways := []struct {
		name string
		args []string
	}{
		{ownDisk, []string{"-dir", "/scratch"}},
		{onShare, []string{"-dir", "/share"}},
		{shareTCP, []string{"-dir", "/mnt-share", "-fuse", fmt.Sprintf("%s:%d", host, fuse)}},
		{plan9TCP, []string{"-dir", "/mnt-9p", "-9p", fmt.Sprintf("%s:%d", host, plan9), "-aname", "/export"}},
	}
	if out, err := c.run(ctx, "/bin/sh", "-c", "grep -w 9p /proc/filesystems || true"); err != nil {
		return err
	} else if strings.TrimSpace(out) == "" {
		ways = ways[:3]
		b.report.notes = append(b.report.notes, "The guest's kernel has no 9P: KERNEL=small has.")
	}
	for i := range b.n {
		for _, w := range ways {
			say("files, round %d of %d: %s", i+1, b.n, w.name)
			out, err := c.run(ctx, append([]string{"/shareload"}, w.args...)...)
			if err != nil {
				return err
			}
			var rates map[string]float64
			if err := json.Unmarshal([]byte(out), &rates); err != nil {
				return fmt.Errorf("shareload: %w: %s", err, out)
			}
			for op, v := range rates {
				b.report.add(op, w.name, v)
			}
		}
	}
	return nil
}

// pgbench measures a database on the share and on its pod's own disk, in turn.
func (b *shareBench) pgbench(ctx context.Context, _ *undo) error {
	app := appimage.PostgreSQL
	folder := filepath.Join(b.dir, "database")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.Chown(folder, app.UID, app.UID)); err != nil {
		return err
	}
	script := func(dir, port string) string {
		return fmt.Sprintf("initdb -D %[1]s -A trust > /dev/null && postgres -D %[1]s -k /tmp -p %[2]s -c listen_addresses= &\n", dir, port)
	}
	c, err := b.start(ctx, "postgresql", folder, int64(app.UID), "export PATH="+appimage.PostgreSQLBin+":$PATH\n"+
		script("/tmp/own", "5432")+script("/share/db", "5433")+"wait")
	if err != nil {
		return err
	}
	ways := []struct{ name, port string }{{ownDisk, "5432"}, {onShare, "5433"}}
	pgbench := appimage.PostgreSQLBin + "/pgbench -h /tmp -p "
	for _, w := range ways {
		_, err := c.run(ctx, "/bin/sh", "-c", "for ((i = 0; i < 600; i++)); do "+appimage.PostgreSQLBin+"/pg_isready -q -h /tmp -p "+w.port+" && break; sleep 0.2; done\n"+
			pgbench+w.port+" -i -q postgres 2>&1")
		if err != nil {
			return err
		}
	}
	for i := range b.n {
		for _, w := range ways {
			say("pgbench, round %d of %d: %s", i+1, b.n, w.name)
			out, err := c.run(ctx, "/bin/sh", "-c", pgbench+w.port+" -n -c 2 -T 10 postgres")
			if err != nil {
				return err
			}
			var tps float64
			for line := range strings.Lines(out) {
				if n, _ := fmt.Sscanf(line, "tps = %f", &tps); n == 1 {
					b.report.add(pgbenchRow, w.name, tps)
				}
			}
		}
	}
	return nil
}
