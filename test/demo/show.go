package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/porthole-run/porthole/deploy"
	"github.com/porthole-run/porthole/test/harness"
)

// demo is one run.
type demo struct {
	options
	s     *harness.Server
	start time.Time
	steps []string // with their times, for the summary
}

// step says what is done, does it, and says how long it took.
func (d *demo) step(what string, f func() error) error {
	fmt.Printf("\n-- %s\n", what)
	begin := time.Now()
	err := f()
	took := time.Since(begin).Seconds()
	fmt.Printf("   %.2f s\n", took)
	d.steps = append(d.steps, fmt.Sprintf("%7.2f s  %s", took, what))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// crictl prints a crictl line, runs it, prints what it says and returns it.
func (d *demo) crictl(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("   $ crictl %s\n", quoted(args))
	var stderr strings.Builder
	cmd := d.s.Crictl(ctx, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	text := strings.TrimRight(string(out), "\n")
	for line := range strings.Lines(text) {
		fmt.Printf("     %s\n", strings.TrimRight(line, "\n"))
	}
	if err != nil {
		return "", fmt.Errorf("crictl %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return text, nil
}

// quoted is a command line that a shell takes as these arguments.
func quoted(args []string) string {
	var out []string
	for _, a := range args {
		if a == "" || strings.ContainsAny(a, " ;|&$\"'()<>*?") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

func show(ctx context.Context, o options) (err error) {
	d := &demo{options: o, start: time.Now(), steps: earlierSteps()}
	if _, err := os.Stat(d.pidFile("server")); err == nil {
		if err := end(ctx, o); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(o.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	var ref string
	var registry *exec.Cmd
	err = d.step("build the sample image from Debian packages and serve it on loopback", func() (err error) {
		ref, registry, err = startRegistry(o)
		if err != nil {
			return err
		}
		fmt.Printf("   %s\n", ref)
		return d.writePID("registry", registry.Process.Pid)
	})
	if err != nil {
		return err
	}
	stopRegistry := func() error {
		os.Remove(d.pidFile("registry"))
		err := registry.Process.Signal(os.Interrupt)
		registry.Wait()
		return err
	}
	d.s, err = harness.New(harness.Config{Dir: o.dir, Bin: o.bin, Guest: o.guest, CNIConf: deploy.CNIConf})
	if err != nil {
		return errors.Join(err, stopRegistry())
	}
	err = d.step("start porthole serve", func() error {
		if err := d.s.Start(ctx); err != nil {
			return err
		}
		return d.writePID("server", d.s.PID())
	})
	if err != nil {
		return errors.Join(err, stopRegistry())
	}
	err = d.pod(ctx, ref)
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nthe server's log ends with:\n%s\n", d.s.LogTail())
	}
	if err == nil && o.keep {
		fmt.Printf("\nThe server is left running; its files are in %s. Use it with\n\n    %s %s pods\n\nThe sample image is %s. End it with: make stop\n",
			o.dir, filepath.Join(o.bin, "crictl"), strings.Join(d.s.CrictlArgs(), " "), ref)
		d.summary()
		return nil
	}
	err = errors.Join(err, d.step("stop the server", func() error {
		os.Remove(d.pidFile("server"))
		return errors.Join(d.s.Stop(), stopRegistry())
	}))
	d.summary()
	if err != nil {
		return err
	}
	fmt.Println("\nAll of it worked, and nothing is left running. The bridge porthole0 and the firewall\nrules of Debian's CNI plugins stay, as the plugins leave them.")
	return os.RemoveAll(o.dir)
}

// earlierSteps reads what `make run` did before: it names a file with a line a step.
func earlierSteps() []string {
	text, err := os.ReadFile(os.Getenv("PORTHOLE_STEPS"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n")
}

func (d *demo) summary() {
	fmt.Printf("\nHow long each step took:\n")
	for _, s := range d.steps {
		fmt.Println(s)
	}
	fmt.Printf("%7.2f s  of them with the server\n", time.Since(d.start).Seconds())
}

func (d *demo) pidFile(name string) string { return pidFile(d.options, name) }

func pidFile(o options, name string) string { return filepath.Join(o.dir, name+".pid") }

func (d *demo) writePID(name string, pid int) error {
	return os.WriteFile(d.pidFile(name), []byte(strconv.Itoa(pid)), 0o644)
}

// pod drives one pod through its life.
func (d *demo) pod(ctx context.Context, ref string) error {
	logs := filepath.Join(d.dir, "logs")
	// The kubelet sets these; crictl ps shows them.
	podLabels := map[string]string{"io.kubernetes.pod.name": "demo", "io.kubernetes.pod.namespace": "default"}
	podFile, ctrFile := filepath.Join(d.dir, "pod.json"), filepath.Join(d.dir, "container.json")
	err := errors.Join(os.MkdirAll(logs, 0o755),
		writeJSON(podFile, map[string]any{
			"metadata": map[string]any{"name": "demo", "namespace": "default", "uid": "demo-1"}, "labels": podLabels, "log_directory": logs, "linux": map[string]any{}}),
		writeJSON(ctrFile, map[string]any{
			"metadata": map[string]any{"name": "web"}, "labels": podLabels, "image": map[string]any{"image": ref}, "log_path": "web.log", "linux": map[string]any{},
			"command": []string{"/bin/sh", "-c", `echo "in the container: $(uname -sr), host name $(hostname), up $(cut -d. -f1 /proc/uptime) s"; busybox httpd -p 8080 -h /www; i=0; while :; do i=$((i+1)); echo "tick $i"; sleep 1; done`}}))
	if err != nil {
		return err
	}
	var pod, ctr string
	host, err := exec.CommandContext(ctx, "uname", "-sr").Output()
	if err != nil {
		return err
	}
	for _, s := range []struct {
		what string
		do   func() error
	}{
		{"check the machine", func() error {
			return d.porthole(ctx, "doctor")
		}},
		{"pull the image through the registry", func() error { _, err := d.crictl(ctx, "pull", ref); return err }},
		{"run a pod sandbox: a virtual machine with its own kernel", func() (err error) { pod, err = d.crictl(ctx, "runp", podFile); return err }},
		{"create a container in it", func() (err error) { ctr, err = d.crictl(ctx, "create", pod, ctrFile, podFile); return err }},
		{"start the container", func() error { _, err := d.crictl(ctx, "start", ctr); return err }},
		{"what the container says, and the host's kernel next to it", func() error {
			if err := d.waitForLog(ctx, filepath.Join(logs, "web.log")); err != nil {
				return err
			}
			_, err := d.crictl(ctx, "logs", ctr)
			fmt.Printf("     on the host:      %s", host)
			return err
		}},
		{"run a command in it", func() error {
			_, err := d.crictl(ctx, "exec", ctr, "sh", "-c", "id; ip address show eth0 | grep inet; df -h / | tail -n 1")
			return err
		}},
		{"follow its log for three seconds", func() error { return d.follow(ctx, ctr) }},
		{"forward a port and fetch a page from the container", func() error { return d.fetch(ctx, pod) }},
		{"list what runs", func() error {
			_, err := d.crictl(ctx, "pods")
			_, err2 := d.crictl(ctx, "ps")
			return errors.Join(err, err2)
		}},
		{"what the pod's start spent its time on", func() error { return d.porthole(ctx, "why-slow") }},
		{"stop and remove the pod", func() error {
			_, err := d.crictl(ctx, "stopp", pod)
			_, err2 := d.crictl(ctx, "rmp", pod)
			return errors.Join(err, err2)
		}},
	} {
		if err := d.step(s.what, s.do); err != nil {
			return err
		}
	}
	return nil
}

// porthole shows one of porthole's own commands.
func (d *demo) porthole(ctx context.Context, name string) error {
	fmt.Printf("   $ porthole %s --config %s\n", name, d.s.ConfigPath)
	out, err := d.s.Porthole(ctx, name, "--config", d.s.ConfigPath).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		fmt.Printf("     %s", line)
	}
	return err
}

func (d *demo) waitForLog(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the container said nothing within 30 s: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *demo) follow(ctx context.Context, ctr string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	fmt.Printf("   $ crictl logs -f --tail 1 %s\n", ctr)
	out, err := d.s.Crictl(ctx, "logs", "-f", "--tail", "1", ctr).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		fmt.Printf("     %s", line)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("crictl logs -f ended by itself: %w", err)
	}
	if !strings.Contains(string(out), "tick") {
		return errors.New("crictl logs -f printed no line")
	}
	return nil
}

func (d *demo) fetch(ctx context.Context, pod string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	forwardCtx, cancel := context.WithTimeout(ctx, time.Minute)
	pair := fmt.Sprintf("%d:8080", port)
	fmt.Printf("   $ crictl port-forward %s %s\n", pod, pair)
	cmd := d.s.Crictl(forwardCtx, "port-forward", pod, pair)
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	defer func() { cancel(); cmd.Wait() }()
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	for {
		r, err := http.Get(url)
		if err == nil {
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			fmt.Printf("   GET %s: %s\n     %s\n", url, r.Status, strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", "\n     "))
			if err == nil && r.StatusCode != http.StatusOK {
				err = fmt.Errorf("the page is answered with %s", r.Status)
			}
			return err
		}
		select {
		case <-forwardCtx.Done():
			return fmt.Errorf("no page within a minute: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
