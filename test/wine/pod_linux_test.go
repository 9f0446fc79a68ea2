package wine

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	guestimage "github.com/porthole-run/porthole/guest/image"
	"github.com/porthole-run/porthole/test/harness"
)

//go:embed stub/virtdisk.c
var diskMaker string

// install builds DLLs and puts them into the machine.
func (m *machine) install(dlls map[string]DLL) {
	m.t.Helper()
	dir, err := Build(m.t.Context(), env.cache, dlls)
	if err != nil {
		m.t.Fatal(err)
	}
	for name := range dlls {
		if err := m.Install(dir, name); err != nil {
			m.t.Fatal(err)
		}
	}
}

// hypervisor is a computecore.dll whose VMs panic when they start.
func hypervisor(t *testing.T) map[string]DLL {
	return map[string]DLL{"computecore.dll": {
		Sources: map[string]string{"computecore.c": source(t, "../../internal/hcs/testdata/computecore.c")}, Libraries: []string{"ole32"},
	}}
}

// processes are those of this machine whose command line has the words.
func (m *machine) processes(words string) []harness.Process {
	m.t.Helper()
	all, err := harness.Processes()
	if err != nil {
		m.t.Fatal(err)
	}
	return harness.Pick(all, func(p harness.Process) bool {
		env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID))
		return err == nil && strings.Contains(string(env), "WINEPREFIX="+m.Dir()) && strings.Contains(strings.Join(p.Args, " "), words)
	})
}

// TestRunPod asks for a pod of a host that has no HNS, and so cannot run one: the error
// says what is missing, and nothing of the pod is left, nor of the VM that was being made
// meanwhile.
func TestRunPod(t *testing.T) {
	for name, with := range map[string]map[string]DLL{"without_Hyper-V": nil, "with_a_VM_that_panics": hypervisor(t)} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "virtdisk")
			m.install(map[string]DLL{"virtdisk.dll": {Sources: map[string]string{"virtdisk.c": diskMaker}}})
			m.install(with)
			conf := m.write("10-x.conflist", `{"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "winclient"}]}`)
			config, pipe := m.configure(t, fmt.Sprintf("[network]\nconf_dir = '%s'\nplugin_dirs = ['%s']\n",
				conf[:strings.LastIndexByte(conf, '\\')], Windows(env.bin)))
			d := m.serve(config, pipe)
			if n := len(m.processes("porthole.exe serve")); n != 1 {
				t.Errorf("%d processes of the daemon are found", n)
			}
			pod := m.write("pod.json", `{"metadata": {"name": "p", "namespace": "default", "uid": "u", "attempt": 1}, "log_directory": "", "linux": {}}`)
			for range 3 {
				out, errs, code := m.run("crictl.exe", d.crictlArgs("runp", pod)...)
				if said := out + errs; code == 0 || !strings.Contains(said, "Install-WindowsFeature") {
					t.Errorf("runp = exit code %d, want an error that says what to install:\n%s", code, said)
				}
				if got := d.crictl("pods", "-q"); got != "" {
					t.Errorf("pods = %s", got)
				}
				for _, dir := range []string{stateDir + `\vm`, rootDir + `\sandboxes`, rootDir + `\hns`} {
					left, err := os.ReadDir(m.Path(dir))
					if err != nil && !os.IsNotExist(err) || len(left) > 0 {
						t.Errorf("%s holds %v, %v", dir, left, err)
					}
				}
				if left := m.processes("porthole.exe shim"); len(left) > 0 {
					t.Errorf("processes of shims: %v", left)
				}
			}
			if d.over() {
				t.Errorf("the daemon has ended:\n%s", d.said())
			}
			d.crictl("version")
		})
	}
}

// TestShim runs the process that holds a VM: why it ended is left for the daemon.
func TestShim(t *testing.T) {
	m := newMachine(t)
	defer m.hold("wait", ".")()
	shim := func(name, want string) {
		t.Helper()
		dir := `C:\ph\` + name
		if err := os.MkdirAll(m.Path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		b := bundle(t)
		config, err := json.Marshal(map[string]any{
			"version": 1, "id": "0123456789abcdef0123456789abcdef", "vcpus": 1, "memoryMiB": 64,
			"kernel": Windows(filepath.Join(b, guestimage.KernelFile)), "initrd": Windows(filepath.Join(b, guestimage.InitrdFile)), "driver": json.RawMessage(`{}`), "startTimeoutNanos": 20e9,
		})
		if err == nil {
			err = os.WriteFile(m.Path(dir+`\shim.json`), config, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.fails(1, []string{want}, "porthole.exe", "shim", "--locks", dir+`\locks`, "--dir", dir)
		exit, err := os.ReadFile(filepath.Join(m.Path(dir), "exit.json"))
		var said struct{ Error string }
		if err == nil {
			err = json.Unmarshal(exit, &said)
		}
		if err != nil || !strings.Contains(said.Error, want) {
			t.Errorf("exit.json of a shim %s = %s, %v, want %q", name, exit, err, want)
		}
	}
	shim("without", "Install-WindowsFeature Hyper-V")
	m.install(hypervisor(t))
	shim("with", "Kernel panic")
}

// TestPipe: clients that say nothing, or what is no HTTP/2, keep nobody else from the
// daemon.
func TestPipe(t *testing.T) {
	m := newMachine(t)
	config, pipe := m.configure(t, "")
	d := m.serve(config, pipe)
	name := strings.ReplaceAll(strings.TrimPrefix(pipe, "npipe://"), "/", `\`)
	for i := range 12 {
		defer m.hold([]string{"connect", "garble"}[i%2], name)()
	}
	if got := d.crictl("version"); !strings.Contains(got, "porthole") {
		t.Errorf("version = %s", got)
	}
	done := make(chan string, 4)
	for range cap(done) {
		go func() {
			out, errs, code := m.run("crictl.exe", d.crictlArgs("version")...)
			done <- fmt.Sprint(code, out, errs)
		}()
	}
	for range cap(done) {
		if got := <-done; !strings.HasPrefix(got, "0") {
			t.Errorf("one of several at once: %s", got)
		}
	}
	m.fails(1, nil, "winclient.exe", "connect", name+"-other")
}

// TestCommands are those that need no daemon.
func TestCommands(t *testing.T) {
	m := newMachine(t)
	defer m.hold("wait", ".")()
	if got := m.must("porthole.exe", "version", "--json"); !strings.Contains(got, "windows/amd64") {
		t.Errorf("version = %s", got)
	}
	text := m.must("porthole.exe", "config", "default")
	for _, want := range []string{`root = 'C:\ProgramData\porthole\root'`, `socket = "npipe:////./pipe/porthole"`, `driver = "hcs"`} {
		if !strings.Contains(text, want) {
			t.Errorf("config default has no %s:\n%s", want, text)
		}
	}
	m.must("porthole.exe", "config", "check", "--config", m.write("default.toml", text))
	m.must("porthole.exe", "config", "check") // the file where it is looked for may be absent
	m.fails(3, []string{"line 1: rot", `line 3: grpc.socket: is a unix socket`, `line 5: vm.driver: "qemu" is not one of hcs`},
		"porthole.exe", "config", "check", "--config", m.write("bad.toml", "rot = 1\n[grpc]\nsocket = \"/run/p.sock\"\n[vm]\ndriver = \"qemu\"\n"))
	m.fails(2, []string{"not a command"}, "porthole.exe", "server")
	m.fails(1, []string{Windows(filepath.Join(env.bin, "guest"))}, "porthole.exe", "guest", "info")
	m.fails(1, []string{"MISSING", "Install-WindowsFeature"}, "porthole.exe", "doctor")
	m.must("porthole.exe", "doctor", "0x8037011b")
	m.must("porthole.exe", "guest", "info", "--verify", "--bundle", Windows(bundle(t)))
}
