package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
	"github.com/porthole-run/porthole/test/registry"
)

// options are the flags.
type options struct {
	fetch             bool
	bin, guest, cache string
	transport, focus  string
	parallel          int
	accel             string
	vmNamespaces      bool
	benchmark         bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "critrun:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("critrun", flag.ContinueOnError)
	var o options
	f.BoolVar(&o.fetch, "fetch", false, "fill the cache and run nothing")
	f.StringVar(&o.bin, "bin", "out/bin", "`folder` of porthole, critest, ginkgo and nnp")
	f.StringVar(&o.guest, "guest", "out/guest-debian", "`folder` of the guest bundle")
	f.StringVar(&o.cache, "cache", filepath.Join(os.TempDir(), "porthole-cache"), "`folder` for downloads")
	f.StringVar(&o.transport, "transport", "spdy", "spdy or websocket: what exec, attach and port-forward go over")
	f.StringVar(&o.focus, "focus", "", "run the specs whose names match this `pattern`")
	f.IntVar(&o.parallel, "parallel", 2, "how many specs run at one time")
	f.StringVar(&o.accel, "accel", "auto", "how VMs run: auto, kvm or tcg")
	f.BoolVar(&o.vmNamespaces, "vm-namespaces", false, "give pods that ask for namespaces of the host those of their VM (host_namespaces = \"vm\")")
	f.BoolVar(&o.benchmark, "benchmark", false, "run the suite's benchmarks in place of its specs, and print their figures")
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, p := range []*string{&o.bin, &o.guest, &o.cache} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	switch {
	case o.fetch:
		_, err := images(ctx, o.cache, "")
		return err
	case o.transport != "spdy" && o.transport != "websocket":
		return fmt.Errorf("transport %q is not spdy or websocket", o.transport)
	case o.parallel < 2:
		return fmt.Errorf("%d specs at one time: 2 at least", o.parallel)
	}
	ran, err := suite(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("critest over %s: %s\n", o.transport, summary(ran))
	bad := compare(ran, expectedOf(o), o.focus != "" || o.benchmark)
	for _, line := range bad {
		fmt.Println("--", line)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d specs went other than expected", len(bad))
	}
	return nil
}

// suite starts a server and a registry, runs the suite, and returns how each spec went.
func suite(ctx context.Context, o options) (ran []spec, err error) {
	reg, err := registry.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, reg.Close()) }()
	all, err := images(ctx, o.cache, filepath.Join(o.bin, "nnp"))
	if err != nil {
		return nil, err
	}
	if err := push(ctx, reg, all); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pcrit")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := harness.New(harness.Config{Dir: dir, Bin: o.bin, Guest: o.guest, Accel: o.accel, CNIConf: deploy.CNIConf,
		// Specs judge what a pod does, not how soon a busy machine boots several.
		VM: fmt.Sprintf("start_timeout = %q\nhost_namespaces = %q", "4m", map[bool]string{false: "refuse", true: "vm"}[o.vmNamespaces]),
	})
	if err != nil {
		return nil, err
	}
	if err := mirror(s, reg); err != nil {
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	if o.benchmark { // figures are of clones where there are to be some
		if err := s.AwaitTemplates(ctx); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	ran, err = critest(ctx, o, s)
	if err := s.Stop(); err != nil {
		return nil, err
	}
	return ran, err
}

// critest runs the suite's program. That it fails is no error here: the report says
// what failed.
func critest(ctx context.Context, o options, s *harness.Server) ([]spec, error) {
	name := o.transport
	switch {
	case o.benchmark:
		name = "benchmark"
	case o.vmNamespaces:
		name += "-vm-namespaces"
	}
	log, err := os.Create(filepath.Join(filepath.Dir(o.bin), "critest-"+name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// The report and what the suite forgets go with the server.
	tmp := filepath.Join(s.Dir, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return nil, err
	}
	endpoint := "unix://" + s.Socket
	args := []string{
		"-runtime-endpoint=" + endpoint, "-image-endpoint=" + endpoint, "-config=" + os.DevNull,
		"-ginkgo.json-report=report.json", "-ginkgo.no-color", "-ginkgo.timeout=55m", "-ginkgo.seed=1",
	}
	if o.benchmark {
		more, err := benchmarkArgs(tmp)
		if err != nil {
			return nil, err
		}
		args = append(args, more...)
	} else {
		args = append(args, "-parallel="+strconv.Itoa(o.parallel))
	}
	if o.focus != "" {
		args = append(args, "-ginkgo.focus="+o.focus)
	}
	if o.transport == "websocket" {
		args = append(args, "-websocket-exec", "-websocket-attach", "-websocket-portforward")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "critest"), args...)
	cmd.Env = append(os.Environ(), "PATH="+o.bin+":"+os.Getenv("PATH"), "TMPDIR="+tmp)
	cmd.Dir = tmp
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	failed := cmd.Run()
	ran, err := readReport(filepath.Join(tmp, "report.json"))
	if err != nil {
		return nil, fmt.Errorf("%w (critest: %v; see %s)", err, failed, log.Name())
	}
	if failed == nil && slices.ContainsFunc(ran, func(s spec) bool { return !s.passed() && !s.skipped() }) {
		return nil, fmt.Errorf("critest succeeded and reports failures; see %s", log.Name())
	}
	if o.benchmark {
		rows, err := readResults(resultsDir(tmp))
		if err != nil {
			return nil, fmt.Errorf("%w (critest: %v; see %s)", err, failed, log.Name())
		}
		printResults(os.Stdout, rows)
	}
	return ran, nil
}
