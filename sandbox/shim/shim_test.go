package shim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/streaming/crilog"
)

// rig is a server with a fake VM in this process, and a client of it.
type rig struct {
	*Client
	vm     *fakeVM
	server *Server
	dir    folder
	ended  chan struct{}
	reason error
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "shim") // t.TempDir's may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func serverConfig(vm *fakeVM, dir string) ServerConfig {
	return ServerConfig{
		VM: sandbox.VMConfig{ID: "vm1", Dir: dir}, Driver: vm, Version: "test",
		OpenLog: func(dir, path string, _ bool) (Log, error) { return crilog.Open(path, crilog.Options{Dir: dir}) },
		Log:     slog.New(slog.DiscardHandler),
	}
}

func newRig(t *testing.T) *rig { return newRigWith(t, func(*ServerConfig) {}) }

func newRigWith(t *testing.T, change func(*ServerConfig)) *rig {
	t.Helper()
	ctx := testContext(t)
	r := &rig{vm: newFakeVM(), dir: folder(shortDir(t)), ended: make(chan struct{})}
	c := serverConfig(r.vm, string(r.dir))
	change(&c)
	var err error
	if r.server, err = Start(ctx, c); err != nil {
		t.Fatal(err)
	}
	control, streams, err := listen(ctx, r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(r.dir.process(), processRecord{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		r.reason = r.server.Serve(context.WithoutCancel(ctx), control, streams)
		r.dir.recordExit(r.reason)
		r.server.Close()
	}()
	if r.Client, err = connect(ctx, r.dir, "test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.server.end()
		<-r.ended
		r.Client.Close()
	})
	return r
}

func (r *rig) pod(t *testing.T) {
	t.Helper()
	if err := r.SetupPod(testContext(t), podSetup()); err != nil {
		t.Fatal(err)
	}
}

func podSetup() sandbox.PodSetup {
	return sandbox.PodSetup{
		PodID: "pod1", Hostname: "h", Scratch: sandbox.Disk{Path: "/d/scratch", Format: sandbox.DiskRaw},
		NICs: []sandbox.PodNIC{{NIC: sandbox.NIC{Name: "eth0"}, Addresses: []string{"10.0.0.2/24"}, Routes: []sandbox.Route{{Destination: "0.0.0.0/0"}}}},
	}
}

func containerSetup(id string, args ...string) sandbox.ContainerSetup {
	spec, _ := json.Marshal(specs.Spec{Process: &specs.Process{Args: args}})
	return sandbox.ContainerSetup{
		PodID: "pod1", ContainerID: id, Spec: spec,
		Layers: []sandbox.Layer{{DiffID: "sha256:a", Path: "/d/a"}, {DiffID: "sha256:b", Path: "/d/b"}},
	}
}

func (r *rig) start(t *testing.T, c sandbox.ContainerSetup) {
	t.Helper()
	ctx := testContext(t)
	if _, err := r.CreateContainer(ctx, c); err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartContainer(ctx, c.ContainerID); err != nil {
		t.Fatal(err)
	}
}

func TestLife(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	log := filepath.Join(string(r.dir), "c.log")
	c := containerSetup("c1", "echo", "hello")
	c.LogPath = log
	created, err := r.CreateContainer(ctx, c)
	if err != nil || created.PID != 10 || created.User.UID != 7 {
		t.Fatalf("CreateContainer = %+v, %v", created, err)
	}
	if got, want := r.vm.String(), "running disks=[a b scratch] nics=[eth0] pods=1 containers=1 execs=0"; got != want {
		t.Errorf("after create: %s, want %s", got, want)
	}
	at, err := r.StartContainer(ctx, "c1")
	if err != nil || time.Since(at) > time.Minute {
		t.Fatalf("StartContainer = %v, %v", at, err)
	}
	for range 2 { // an exit is told again
		exit, err := r.Wait(ctx, "c1")
		if err != nil || exit.Code != 0 || time.Since(exit.At) > time.Minute {
			t.Fatalf("Wait = %+v, %v", exit, err)
		}
	}
	b, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(b), " stdout F hello\n") || !strings.Contains(string(b), " stderr F err hello\n") {
		t.Errorf("log = %q, %v", b, err)
	}
	state, err := r.State(ctx)
	if err != nil || len(state.Pods) != 1 || len(state.Containers) != 1 || state.Containers[0].Exit == nil || !state.Containers[0].Started {
		t.Errorf("State = %+v, %v", state, err)
	}
	if err := r.Signal(ctx, "c1", 15, false); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Signal of an exited container = %v", err)
	}
	for range 2 { // gone is no error
		if err := r.RemoveContainer(ctx, "c1"); err != nil {
			t.Fatal(err)
		}
		if err := r.RemovePod(ctx, "pod1"); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := r.vm.String(), "running disks=[] nics=[] pods=0 containers=0 execs=0"; got != want {
		t.Errorf("at the end: %s, want %s", got, want)
	}
}

func TestLayersAreShared(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	var wg sync.WaitGroup
	for _, id := range []string{"c1", "c2", "c3"} {
		wg.Go(func() {
			if _, err := r.CreateContainer(ctx, containerSetup(id, "sleep")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, want := r.vm.String(), "running disks=[a b scratch] nics=[eth0] pods=1 containers=3 execs=0"; got != want {
		t.Errorf("three containers: %s, want %s", got, want)
	}
	for _, id := range []string{"c1", "c3"} {
		if err := r.RemoveContainer(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := r.vm.String(), "running disks=[a b scratch] nics=[eth0] pods=1 containers=1 execs=0"; got != want {
		t.Errorf("one container: %s, want %s", got, want)
	}
	if err := r.RemovePod(ctx, "pod1"); err != nil {
		t.Fatal(err)
	}
	if got, want := r.vm.String(), "running disks=[] nics=[] pods=0 containers=0 execs=0"; got != want {
		t.Errorf("no pod: %s, want %s", got, want)
	}
}

func TestEveryStepFails(t *testing.T) {
	for _, step := range []string{"attach scratch", "attach nic", "create pod", "attach a", "attach b", "create container"} {
		t.Run(strings.ReplaceAll(step, " ", "_"), func(t *testing.T) {
			r := newRig(t)
			ctx := testContext(t)
			r.vm.fail = step
			err := r.SetupPod(ctx, podSetup())
			if err == nil {
				_, err = r.CreateContainer(ctx, containerSetup("c1", "sleep"))
				if rerr := r.RemovePod(ctx, "pod1"); rerr != nil {
					t.Error(rerr)
				}
			}
			if !errdefs.IsInternal(err) || !strings.Contains(err.Error(), step) {
				t.Errorf("error = %v", err)
			}
			if got, want := r.vm.String(), "running disks=[] nics=[] pods=0 containers=0 execs=0"; got != want {
				t.Errorf("left: %s, want %s", got, want)
			}
			r.vm.mu.Lock()
			r.vm.fail = ""
			r.vm.mu.Unlock()
			r.pod(t) // and it can be done again
			r.start(t, containerSetup("c1", "sleep"))
		})
	}
}

// TestCreate_LogCannotBeOpened: the answer names the log, and the shim and what runs in its
// VM live on.
func TestCreate_LogCannotBeOpened(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	c := containerSetup("c1", "sleep")
	c.LogPath = string(r.dir) // a folder
	if _, err := r.CreateContainer(ctx, c); err == nil || !strings.Contains(err.Error(), "open log") {
		t.Errorf("CreateContainer = %v", err)
	}
	if got, want := r.vm.String(), "running disks=[scratch] nics=[eth0] pods=1 containers=0 execs=0"; got != want {
		t.Errorf("left: %s, want %s", got, want)
	}
	c.LogPath = filepath.Join(string(r.dir), "c.log")
	r.start(t, c)
}

func TestRemoveFails_ThenSucceeds(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	r.start(t, containerSetup("c1", "sleep"))
	r.vm.mu.Lock()
	r.vm.fail = "remove container"
	r.vm.mu.Unlock()
	if err := r.RemovePod(ctx, "pod1"); !errdefs.IsInternal(err) {
		t.Fatalf("RemovePod = %v", err)
	}
	r.vm.mu.Lock()
	r.vm.fail = ""
	r.vm.mu.Unlock()
	if err := r.RemovePod(ctx, "pod1"); err != nil {
		t.Fatal(err)
	}
	if got, want := r.vm.String(), "running disks=[] nics=[] pods=0 containers=0 execs=0"; got != want {
		t.Errorf("left: %s, want %s", got, want)
	}
}

func TestStartFails(t *testing.T) {
	for _, step := range []string{"create vm", "start vm"} {
		vm := newFakeVM()
		vm.fail = step
		_, err := Start(testContext(t), serverConfig(vm, shortDir(t)))
		if !errdefs.IsInternal(err) {
			t.Errorf("%s: %v", step, err)
		}
		if s := vm.String(); strings.HasPrefix(s, "running") {
			t.Errorf("%s left %s", step, s)
		}
	}
}

func TestStart_AgentNeverAnswers(t *testing.T) {
	vm := newFakeVM()
	vm.mute = true
	cfg := serverConfig(vm, shortDir(t))
	cfg.StartTimeout = 50 * time.Millisecond
	_, err := Start(testContext(t), cfg)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "Kernel panic") || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("Start = %v", err)
	}
	if s := vm.String(); !strings.HasPrefix(s, "ended") {
		t.Errorf("left %s", s)
	}
}

func TestStart_GuestDies(t *testing.T) {
	vm := newFakeVM()
	vm.mute = true
	time.AfterFunc(50*time.Millisecond, func() { vm.crash("Oops") })
	_, err := Start(testContext(t), serverConfig(vm, shortDir(t)))
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "Oops") {
		t.Errorf("Start = %v", err)
	}
}

func TestVMCrash_EndsClient(t *testing.T) {
	r := newRig(t)
	r.pod(t)
	r.start(t, containerSetup("c1", "sleep"))
	waited := make(chan error, 1)
	go func() {
		_, err := r.Wait(testContext(t), "c1")
		waited <- err
	}()
	r.vm.crash("Kernel panic")
	<-r.Done()
	if err := r.Err(); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("Err = %v", err)
	}
	if err := <-waited; !errdefs.IsUnavailable(err) {
		t.Errorf("Wait = %v", err)
	}
	if _, err := r.State(testContext(t)); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("State = %v", err)
	}
}

func TestExec(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	r.start(t, containerSetup("c1", "sleep"))
	var out, errOut bytes.Buffer
	code, err := r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"echo", "hi"}}, sandbox.Streams{Stdout: &out, Stderr: &errOut})
	if err != nil || code != 0 || out.String() != "hi\n" || errOut.String() != "err hi\n" {
		t.Errorf("echo: %d, %v, %q, %q", code, err, &out, &errOut)
	}
	out.Reset()
	code, err = r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"cat"}}, sandbox.Streams{Stdin: strings.NewReader("half-close"), Stdout: &out})
	if err != nil || code != 0 || out.String() != "half-close" {
		t.Errorf("cat: %d, %v, %q", code, err, &out)
	}
	if code, err := r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"exit", "42"}}, sandbox.Streams{}); err != nil || code != 42 {
		t.Errorf("exit: %d, %v", code, err)
	}
	out.Reset()
	const big = 5 << 20
	if _, err := r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"spew", "5242880"}}, sandbox.Streams{Stdout: &out}); err != nil || out.Len() < big {
		t.Errorf("spew: %v, %d bytes", err, out.Len())
	}
	out.Reset()
	sizes := make(chan sandbox.Size, 1)
	sizes <- sandbox.Size{Width: 80, Height: 24}
	if _, err := r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"size"}, Terminal: true}, sandbox.Streams{Stdout: &out, Resize: sizes}); err != nil || out.String() != "80x24\n" {
		t.Errorf("size: %v, %q", err, &out)
	}
	out.Reset()
	sizes <- sandbox.Size{Width: 132, Height: 43}
	if _, err := r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"first-size"}, Terminal: true}, sandbox.Streams{Stdout: &out, Resize: sizes}); err != nil || out.String() != "132x43\n" {
		t.Errorf("size at the start: %v, %q", err, &out)
	}
	if _, err := r.Exec(ctx, "nope", sandbox.ExecSpec{Args: []string{"cat"}}, sandbox.Streams{Stdout: &out}); !errdefs.IsNotFound(err) {
		t.Errorf("exec in unknown container: %v", err)
	}
	cctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := r.Exec(cctx, "c1", sandbox.ExecSpec{Args: []string{"sleep"}}, sandbox.Streams{Stdout: &out}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled exec: %v", err)
	}
	r.vm.guest.awaitNoExecs()
	if got, want := r.vm.String(), "running disks=[a b scratch] nics=[eth0] pods=1 containers=1 execs=0"; got != want {
		t.Errorf("left: %s, want %s", got, want)
	}
	r.vm.mu.Lock()
	r.vm.fail = "exec"
	r.vm.mu.Unlock()
	if _, err := r.Exec(ctx, "c1", sandbox.ExecSpec{Args: []string{"cat"}}, sandbox.Streams{Stdin: strings.NewReader(""), Stdout: &out}); err == nil {
		t.Error("exec that the guest refuses succeeded")
	}
}

func TestAttach_FanOutAndStdin(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	c := containerSetup("c1", "cat")
	c.Stdin, c.StdinOnce = true, true
	r.start(t, c)
	watch, watchW := io.Pipe()
	seen := make(chan string, 1)
	go func() {
		b := make([]byte, 5)
		io.ReadFull(watch, b)
		seen <- string(b)
		io.Copy(io.Discard, watch)
	}()
	stdin, stdinW := io.Pipe()
	done := make(chan error, 2)
	go func() { done <- r.Attach(ctx, "c1", sandbox.Streams{Stdin: stdin, Stdout: watchW}) }()
	if _, err := io.WriteString(stdinW, "hello"); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "hello" {
		t.Errorf("attached client saw %q", got)
	}
	// A second client sees what comes from now on; the container ends with the first one's stdin.
	var out bytes.Buffer
	go func() { done <- r.Attach(ctx, "c1", sandbox.Streams{Stdout: &out}) }()
	stdinW.Close()
	for range 2 {
		if err := <-done; err != nil && !errdefs.IsFailedPrecondition(err) && !errdefs.IsNotFound(err) {
			t.Errorf("Attach = %v", err)
		}
	}
	if exit, err := r.Wait(ctx, "c1"); err != nil || exit.Code != 0 {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
	if err := r.Attach(ctx, "c1", sandbox.Streams{Stdout: io.Discard}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("Attach to an exited container = %v", err)
	}
}

func TestAttach_Resize(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	c := containerSetup("c1", "size")
	c.Terminal = true
	r.start(t, c)
	sizes := make(chan sandbox.Size, 1)
	sizes <- sandbox.Size{Width: 132, Height: 50}
	var out bytes.Buffer
	if err := r.Attach(ctx, "c1", sandbox.Streams{Stdout: &out, Stderr: io.Discard, Resize: sizes}); err != nil || out.String() != "132x50\n" {
		t.Errorf("Attach = %v, %q", err, &out)
	}
}

// stuck is a client that takes one write and never returns from it.
type stuck struct{ release chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.release
	return 0, io.ErrClosedPipe
}

func TestAttach_ClientThatNeverReads(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	c := containerSetup("c1", "spew", "8388608")
	c.Stdin, c.LogPath = true, filepath.Join(string(r.dir), "c.log")
	if _, err := r.CreateContainer(ctx, c); err != nil {
		t.Fatal(err)
	}
	s := stuck{make(chan struct{})}
	done := make(chan error, 1)
	if _, err := r.StartContainer(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	// What is typed reaches the container once the output is attached.
	go func() {
		done <- r.Attach(ctx, "c1", sandbox.Streams{Stdin: strings.NewReader("!"), Stdout: s})
	}()
	// Held up once, not at each write: of those there are more than ctx has time for.
	if exit, err := r.Wait(ctx, "c1"); err != nil || exit.Code != 0 {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
	close(s.release)
	if err := <-done; !errdefs.IsResourceExhausted(err) {
		t.Errorf("Attach = %v", err)
	}
	if st, err := os.Stat(c.LogPath); err != nil || st.Size() < 8<<20 {
		t.Errorf("log: %v, %v", st, err)
	}
}

func TestPortForward(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	l, err := net.Listen("unix", filepath.Join(string(r.dir), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.PortForward(ctx, "pod1", 80, far) }()
	io.WriteString(near, "request")
	near.(*net.UnixConn).CloseWrite()
	b, err := io.ReadAll(near)
	if err != nil || string(b) != "got request" {
		t.Errorf("answer = %q, %v", b, err)
	}
	if err := <-done; err != nil {
		t.Errorf("PortForward = %v", err)
	}
	_, far = net.Pipe()
	if err := r.PortForward(ctx, "pod1", 81, far); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("PortForward to a closed port = %v", err)
	}
}

func TestReopenLog(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	r.pod(t)
	c := containerSetup("c1", "cat")
	c.Stdin, c.LogPath = true, filepath.Join(string(r.dir), "c.log")
	r.start(t, c)
	if err := os.Rename(c.LogPath, c.LogPath+".1"); err != nil {
		t.Fatal(err)
	}
	if err := r.ReopenLog(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	if err := r.Attach(ctx, "c1", sandbox.Streams{Stdin: strings.NewReader("after\n")}); err != nil {
		t.Fatal(err)
	}
	for { // what was typed comes back by the container
		b, err := os.ReadFile(c.LogPath)
		if strings.HasSuffix(string(b), " stdout F after\n") {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatalf("log after rotation = %q, %v", b, err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := r.RemoveContainer(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
}

func TestHostileGuest(t *testing.T) {
	r := newRig(t)
	ctx := testContext(t)
	if v := r.Info().AgentVersion; strings.Contains(v, "\x1b") {
		t.Errorf("agent version %q", v)
	}
	r.pod(t)
	r.vm.guest.answer = answers{code: 300, unused: []string{"sha256:invented"}}
	r.start(t, containerSetup("c1", "exit", "0"))
	if exit, err := r.Wait(ctx, "c1"); err != nil || exit.Code != exitUnknown {
		t.Errorf("exit code out of range: %+v, %v", exit, err)
	}
	r.vm.guest.mu.Lock()
	r.vm.guest.answer = answers{at: int64(1000 * time.Hour)}
	r.vm.guest.mu.Unlock()
	r.start(t, containerSetup("c2", "exit", "0"))
	if exit, err := r.Wait(ctx, "c2"); err != nil || exit.At.After(time.Now()) {
		t.Errorf("exit in the future: %+v, %v", exit, err)
	}
	r.vm.guest.mu.Lock()
	r.vm.guest.answer = answers{pid: 1 << 31}
	r.vm.guest.mu.Unlock()
	if _, err := r.CreateContainer(ctx, containerSetup("c3", "sleep")); !errdefs.IsDataLoss(err) {
		t.Errorf("pid out of range: %v", err)
	}
	r.vm.guest.mu.Lock()
	r.vm.guest.answer = answers{groups: 70000}
	r.vm.guest.mu.Unlock()
	if _, err := r.CreateContainer(ctx, containerSetup("c4", "sleep")); !errdefs.IsDataLoss(err) {
		t.Errorf("too many groups: %v", err)
	}
	r.vm.guest.mu.Lock()
	r.vm.guest.answer = answers{}
	r.vm.guest.mu.Unlock()
	if err := r.RemovePod(ctx, "pod1"); err != nil {
		t.Fatal(err)
	}
	if got, want := r.vm.String(), "running disks=[] nics=[] pods=0 containers=0 execs=0"; got != want {
		t.Errorf("left: %s, want %s", got, want)
	}
}
