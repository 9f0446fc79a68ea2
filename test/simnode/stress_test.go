package simnode

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/sandboxtest"
	"github.com/porthole-run/porthole/test/registry"
)

// How long callers are let loose: PORTHOLE_STRESS_TIME, else this. PORTHOLE_STRESS_SEED
// repeats what they draw, though not how their calls fall in time.
const stressTime = 8 * time.Second

// TestStress lets eight callers do at random what callers do, on few pods so that they
// get into each other's way, while VMs die, calls to the host fail, hang and lose their
// answers, pulls are cut and the daemon is killed and started again. Each answer is
// checked against what the others allow, events against what there was, and at the end
// nothing may be left.
func TestStress(t *testing.T) {
	testneed.Long(t)
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("PORTHOLE_STRESS_SEED"), 10, 64); err == nil {
		seed = s
	}
	d, _ := time.ParseDuration(os.Getenv("PORTHOLE_STRESS_TIME"))
	d = cmp.Or(d, stressTime)
	t.Logf("PORTHOLE_STRESS_SEED=%d PORTHOLE_STRESS_TIME=%v", seed, d)

	before := runtime.NumGoroutine()
	storm := NewStorm(seed, Refuse, LoseAnswer, Hang, Slow)
	n, err := Start(t.Context(), Config{Dir: memory(t), Storm: storm, Timeouts: sandbox.Timeouts{
		// What hangs is waited for so long; nothing else may take as long, on a busy machine too.
		Launch: time.Second, Open: 10 * time.Second, Step: time.Second,
		Undo: time.Second, Kill: 500 * time.Millisecond, Usage: 200 * time.Millisecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := newModel(t)
	w := &world{model: m, node: n, storm: storm}
	if err := w.pullAll(t.Context()); err != nil {
		t.Fatal(err)
	}

	// On a busy machine it takes longer until enough has happened.
	ctx, cancel := context.WithTimeout(t.Context(), 6*d)
	defer cancel()
	storm.Blow(map[string]float64{"": 0.04, "Open": 0})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { w.call(ctx, rand.New(rand.NewPCG(seed, uint64(i+2)))) })
	}
	wg.Go(func() {
		for pause(ctx, d); ctx.Err() == nil && !w.enough(); {
			pause(ctx, 100*time.Millisecond)
		}
		cancel()
	})
	wg.Go(func() { w.harm(ctx, rand.New(rand.NewPCG(seed, 100))) })
	watch := newWatcher(w)
	followed, unfollow := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { watch.follow(followed) })
	wg.Wait()
	storm.Blow(nil)
	n.Registry.Heal()

	w.removeAll(t)
	watch.check(t)
	unfollow()
	watching.Wait()
	if left := n.Host.String(); left != "" {
		t.Errorf("left on the host:\n%s", left)
	}
	if left, _ := filepath.Glob(filepath.Join(n.Records(), "*")); len(left) != 0 {
		t.Errorf("left of the records: %v", left)
	}
	w.close()
	if err := n.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantGoroutines(t, before)
	t.Log(m.summary())
	t.Logf("faults: %v, VMs killed: %d", storm.Blown(), w.killed)
	if !w.enough() {
		t.Errorf("too little happened for this to be a test: %s; faults %v", m.summary(), storm.Blown())
	}
}

// enough tells whether callers and the storm got anywhere.
func (w *world) enough() bool {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	return len(w.things) >= 30 && w.codes["ExecSync OK"] > 0 && len(w.downs) > 2 && len(w.storm.Blown()) >= 6
}

// memory is a folder in memory where there is one: records are synced, and a disk that
// others use makes that slower than all else here.
func memory(t testing.TB) string {
	const dir = "/dev/shm"
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		t.Log("records lie on a disk: fewer calls will be made")
		return ""
	}
	return dir
}

// wantGoroutines waits until no more run than before. They are told to end, and not
// waited for, by gRPC's and HTTP's clients.
func wantGoroutines(t *testing.T, before int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			b := make([]byte, 1<<20)
			t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
			return
		}
		pause(t.Context(), 10*time.Millisecond)
	}
}

// world is what callers work on.
type world struct {
	*model
	node  *Node
	storm *Storm

	mu      sync.Mutex
	closers []func() error
	killed  int // VMs
}

func (w *world) client() (runtimeapi.RuntimeServiceClient, runtimeapi.ImageServiceClient) {
	conn, rt, im, err := w.node.Client()
	if err != nil {
		panic(err) // of a constant address
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closers = append(w.closers, conn.Close)
	return rt, im
}

func (w *world) close() {
	for _, c := range w.closers {
		_ = c()
	}
}

func (w *world) pullAll(ctx context.Context) error {
	_, im := w.client()
	for _, r := range []string{App, Job} {
		if _, err := im.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: w.node.Ref(r)}}); err != nil {
			return err
		}
	}
	return nil
}

// harmEvery is how many answers callers get at least from one harm to the next: on a busy
// machine too they are to get somewhere between two of them.
const harmEvery = 10

// waitAnswers waits until n calls more were answered, or all may be hanging.
func (w *world) waitAnswers(ctx context.Context, n int) {
	count := func() int {
		w.model.mu.Lock()
		defer w.model.mu.Unlock()
		return w.answers
	}
	deadline := time.Now().Add(5 * time.Second)
	for until := count() + n; ctx.Err() == nil && count() < until && time.Now().Before(deadline); {
		pause(ctx, time.Millisecond)
	}
}

// harm kills VMs and daemons, ends processes, and cuts pulls.
func (w *world) harm(ctx context.Context, r *rand.Rand) {
	for round := 1; ctx.Err() == nil; round++ {
		w.waitAnswers(ctx, harmEvery)
		pause(ctx, time.Duration(r.IntN(60))*time.Millisecond)
		if r.IntN(8) == 0 {
			w.killVM(ctx, r)
		}
		if id, x := w.pick(r, func(x *thing) bool { return x.owner != nil }); x != nil && r.IntN(2) == 0 {
			w.model.mu.Lock()
			mark(&x.mayEnd, w.next())
			w.model.mu.Unlock()
			w.node.Host.Exit(id, sandbox.Exit{Code: 3, At: time.Now()})
		}
		w.node.Registry.Heal()
		if r.IntN(2) == 0 {
			w.node.Registry.Inject(registry.Fault{Path: "/blobs/", CutAfter: 100})
		}
		if round%15 == 0 {
			w.restart(ctx)
		}
	}
}

// killVM kills one of the VMs, with the pod or the pods in it.
func (w *world) killVM(ctx context.Context, r *rand.Rand) {
	vms, err := sandboxtest.Launcher{Node: w.node.Host}.List(ctx)
	if err != nil || len(vms) == 0 {
		return
	}
	id := vms[r.IntN(len(vms))]
	w.model.mu.Lock()
	at := w.next()
	own := w.things[id]
	for _, x := range w.things {
		// Which pods are in a shared VM is not told. One of its own is its pod's, by the id;
		// that of a pod that is being made may not be known yet.
		if x == own || own == nil && x.owner == nil && handlerOf(x.name) != "" {
			mark(&x.killed, at)
		}
	}
	w.killedVMs[id] = at
	if own == nil {
		w.sharedKilled = at
	}
	w.model.mu.Unlock()
	w.node.Host.KillVM(id, "killed by the test")
	w.killed++
}

// restart kills the daemon and starts the next.
func (w *world) restart(ctx context.Context) {
	w.model.mu.Lock()
	w.downs = append(w.downs, span{w.next(), never})
	down := &w.downs[len(w.downs)-1].to
	w.model.mu.Unlock()
	if err := w.node.Kill(); err != nil {
		w.t.Errorf("Kill: %v", err)
	}
	if err := w.node.Restart(ctx); err != nil {
		w.t.Errorf("Restart: %v", err)
	}
	w.model.mu.Lock()
	*down = w.next()
	w.model.mu.Unlock()
}

// pick draws one of the things that are not known to be gone.
func (w *world) pick(r *rand.Rand, want func(*thing) bool) (string, *thing) {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	var ids []string
	for id, x := range w.things {
		// Now and then one that is gone: to stop and remove it again is no error.
		if want(x) && (x.may(gone) == never || r.IntN(20*len(w.things)) == 0) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return "", nil
	}
	// Maps have no order of their own.
	id := ids[r.IntN(len(ids))]
	return id, w.things[id]
}

// removeAll removes what is listed, without faults: that must work, at the first try.
func (w *world) removeAll(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	rt, im := w.client()
	// Calls whose callers gave up may still be at work, and what a VM's end sets off.
	quiet := func() bool {
		before := w.node.Host.String()
		pause(ctx, 300*time.Millisecond)
		return w.node.AtWork() == 0 && w.node.Host.String() == before
	}
	for !quiet() {
		if ctx.Err() != nil {
			t.Fatalf("it does not come to rest:\n%s", w.node.Host)
		}
	}
	w.look(ctx, rt)
	list, err := rt.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		t.Fatalf("ListPodSandbox: %v", err)
	}
	listed := map[string]bool{}
	for _, p := range list.Items {
		listed[p.Id] = true
		if _, err := rt.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			t.Errorf("RemovePodSandbox(%s): %v", p.Metadata.Name, err)
		}
		w.model.mu.Lock()
		if x := w.things[p.Id]; x != nil {
			mark(&x.mayGo, w.next())
			mark(&x.gone, w.next())
		}
		w.model.mu.Unlock()
	}
	for id, x := range w.things {
		if x.owner == nil && x.mayGo == never && !listed[id] {
			t.Errorf("%s is lost", x.what)
		}
	}
	images, err := im.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		t.Fatalf("ListImages: %v", err)
	}
	for _, i := range images.Images {
		if _, err := im.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: i.Id}}); err != nil {
			t.Errorf("RemoveImage: %v", err)
		}
	}
	// A pull whose callers are gone ends in its own time. What failed pulls brought is kept
	// for a while, and goes with nobody's help.
	for {
		left := tree(w.node.Images())
		if slices.Equal(left, []string{"/lock"}) {
			return
		}
		if pause(ctx, 20*time.Millisecond); ctx.Err() != nil {
			t.Errorf("left of the images: %v", left)
			return
		}
	}
}

// excused tells whether an error is one that a caller has to live with.
func (w *world) excused(ctx context.Context, err error, from, to moment) bool {
	code := status.Code(err)
	switch {
	case gaveUp(ctx) && (code == codes.Canceled || code == codes.DeadlineExceeded):
		return true
	case strings.Contains(err.Error(), Injected):
		return true
	}
	// What a daemon says that is about to die, or is dead, and a connection to it: that
	// news can come to the next call.
	return w.down(from, to) || len(w.downs) > 0 && (strings.Contains(err.Error(), "error reading from server: EOF") ||
		strings.Contains(err.Error(), syscall.ECONNRESET.Error()) || strings.Contains(err.Error(), syscall.EPIPE.Error()))
}

// gaveUp tells whether a call's caller did not wait for its answer. The server knows the
// deadline too, and may see it pass first.
func gaveUp(ctx context.Context) bool {
	at, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(at) < 100*time.Millisecond
}

// allow counts an answer and checks that an error is excused or has one of the codes.
func (w *world) allow(ctx context.Context, call string, x *thing, err error, from, to moment, may ...codes.Code) {
	code := status.Code(err)
	w.answers++
	w.calls[call]++
	w.codes[call+" "+code.String()]++
	if err == nil || w.excused(ctx, err, from, to) {
		return
	}
	for _, c := range may {
		if c == code {
			return
		}
	}
	what := ""
	if x != nil {
		what = x.what
	}
	w.wrong("%s(%s): %v", call, what, err)
}

// tree lists the files of a folder.
func tree(dir string) (out []string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir))
		}
		return nil
	})
	return out
}

func name(slot int) string { return fmt.Sprint("p", slot) }
