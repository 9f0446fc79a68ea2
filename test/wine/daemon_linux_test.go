package wine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	guestimage "github.com/porthole-run/porthole/guest/image"
)

// The folders of the daemon under test.
const (
	rootDir  = `C:\ph\data`
	stateDir = `C:\ph\state`
)

// daemon is a porthole.exe that serves.
type daemon struct {
	m      *machine
	config string // its path for programs
	pipe   string // npipe:////./pipe/NAME
	log    string // what it wrote to standard error, on this machine
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has
}

// configure writes a configuration with a pipe of its own and what text adds or, with keys
// that come first, changes.
func (m *machine) configure(t *testing.T, text string) (path, pipe string) {
	t.Helper()
	pipe = "npipe:////./pipe/porthole-" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	certs := filepath.Join(t.TempDir(), "certs.d")
	base := fmt.Sprintf(`root = '%s'
state = '%s'
[metrics]
address = ""
[vm]
bundle = '%s'
[images]
registry_config_dir = '%s'
`, rootDir, stateDir, Windows(bundle(t)), Windows(certs))
	if !strings.Contains(text, "[grpc]") {
		base += fmt.Sprintf("[grpc]\nsocket = %q\n", pipe)
	}
	return m.write("config.toml", base+text), pipe
}

// bundle makes a guest bundle whose kernel never runs.
func bundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	m := guestimage.Manifest{
		Version: guestimage.ManifestVersion,
		Kernel:  guestimage.Kernel{Flavour: guestimage.Debian, Release: "6.1.0-test", ConfigSHA256: digest("config"), Modules: 1},
	}
	for _, name := range []string{guestimage.KernelFile, guestimage.InitrdFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		m.Files = append(m.Files, guestimage.File{Name: name, SHA256: digest(name), Size: int64(len(name))})
		m.Parts = append(m.Parts, guestimage.Part{Name: name, Version: "1", Source: "porthole", Pinned: true, SHA256: digest(name), Size: int64(len(name))})
	}
	var b bytes.Buffer
	if err := guestimage.WriteManifest(&b, m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, guestimage.ManifestFile), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// serve starts a daemon and waits until it serves.
func (m *machine) serve(config, pipe string) *daemon {
	m.t.Helper()
	d := &daemon{m: m, config: config, pipe: pipe}
	d.start()
	m.t.Cleanup(d.kill)
	return d
}

func (d *daemon) start() {
	t := d.m.t
	t.Helper()
	d.launch()
	eventually(t, "porthole serves", patience, func() bool {
		if d.over() {
			t.Fatalf("porthole ended:\n%s", d.said())
		}
		return strings.Contains(d.said(), "porthole serves")
	})
}

func (d *daemon) launch() {
	t := d.m.t
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "serve*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.log = log.Name()
	d.cmd = d.m.Command(t.Context(), filepath.Join(env.bin, "porthole.exe"), "serve", "--config", d.config)
	d.cmd.Stderr = log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := d.cmd, make(chan struct{})
	d.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
}

func (d *daemon) over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// said is the daemon's log.
func (d *daemon) said() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		d.m.t.Error(err)
	}
	return string(b)
}

// kill ends the daemon as the Task Manager does, if it runs.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill()
	<-d.ended
}

// crictl runs crictl.exe against the daemon.
func (d *daemon) crictl(args ...string) string {
	d.m.t.Helper()
	return d.m.must("crictl.exe", d.crictlArgs(args...)...)
}

func (d *daemon) crictlArgs(args ...string) []string {
	conf := filepath.Join(d.m.Dir(), "crictl.yaml") // crictl warns when it finds none
	if err := os.WriteFile(conf, fmt.Appendf(nil, "runtime-endpoint: %s\nimage-endpoint: %s\ntimeout: 20\n", d.pipe, d.pipe), 0o644); err != nil {
		d.m.t.Fatal(err)
	}
	return append([]string{"--config", Windows(conf)}, args...)
}

// serveQuietly starts a daemon that logs to a file of its own, and waits until that says
// that it serves.
func (m *machine) serveQuietly(config, log string) *daemon {
	m.t.Helper()
	d := &daemon{m: m, config: config}
	d.launch()
	eventually(m.t, "porthole serves", patience, func() bool {
		if d.over() {
			m.t.Fatalf("porthole ended:\n%s", d.said())
		}
		b, err := os.ReadFile(m.Path(log))
		return err == nil && strings.Contains(string(b), "porthole serves")
	})
	return d
}

// hold starts winclient.exe and waits until it has done what it is for. The function that
// is returned ends it.
func (m *machine) hold(what, name string) (end func()) {
	m.t.Helper()
	cmd := m.Command(m.t.Context(), filepath.Join(env.bin, "winclient.exe"), what, name)
	out := create(m.t, m.t.TempDir(), "out")
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	over := false
	end = func() {
		if over {
			return
		}
		over = true
		_ = in.Close()
		_ = cmd.Wait()
	}
	m.t.Cleanup(end)
	eventually(m.t, "winclient "+what+" "+name, patience, func() bool {
		text := read(m.t, out)
		if strings.Contains(text, "winclient:") {
			m.t.Fatal(text)
		}
		return strings.Contains(text, "ready")
	})
	return end
}
