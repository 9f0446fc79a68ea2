package wine

import (
	"os"
	"strings"
	"testing"
)

// TestService is the daemon as a service, from its installation to its removal.
func TestService(t *testing.T) {
	m := newMachine(t)
	off := m.hold("wait", ".") // Wine's machine is off when no program runs
	config, pipe := m.configure(t, "")
	d := &daemon{m: m, config: config, pipe: pipe}
	status := func() (s struct {
		Installed, Automatic bool
		Status, Command      string
		PID                  uint32
		ExitCode             uint32 `json:"exit_code"`
	}) {
		t.Helper()
		unmarshal(t, m.must("porthole.exe", "service", "status", "--json"), &s)
		return s
	}
	if s := status(); s.Installed {
		t.Fatalf("status of a new machine = %+v", s)
	}
	m.fails(1, []string{"not installed"}, "porthole.exe", "service", "start")
	m.fails(3, []string{"gone.toml"}, "porthole.exe", "service", "install", "--config", m.write("gone.toml", "rot = 1"))

	m.must("porthole.exe", "service", "install", "--config", config)
	m.fails(1, []string{"service uninstall"}, "porthole.exe", "service", "install", "--config", config)
	if s := status(); !s.Installed || !s.Automatic || s.Status != "stopped" || !strings.Contains(s.Command, "service run --config") {
		t.Errorf("status after install = %+v", s)
	}
	for range 2 {
		m.must("porthole.exe", "service", "start") // returns when it serves
		if got := d.crictl("version"); !strings.Contains(got, "porthole") {
			t.Errorf("version = %s", got)
		}
		if s := status(); s.Status != "running" || s.PID == 0 {
			t.Errorf("status after start = %+v", s)
		}
		m.must("porthole.exe", "service", "stop")
		if s := status(); s.Status != "stopped" || s.ExitCode != 0 {
			t.Errorf("status after stop = %+v", s)
		}
	}
	log, err := os.ReadFile(m.Path(rootDir + `\log\porthole.log`))
	if err != nil || strings.Count(string(log), "porthole ends; pods go on") != 2 {
		t.Errorf("the service's log, %v:\n%s", err, log)
	}
	m.fails(1, []string{"service control manager"}, "porthole.exe", "service", "run", "--config", config)

	// A service that cannot serve says so, and its exit code is the daemon's. (Wine's own
	// manager takes one that ends at once for one that did not start.)
	other := m.serve(config, pipe)
	m.fails(1, []string{"start service porthole"}, "porthole.exe", "service", "start")
	if s := status(); s.Status != "stopped" || s.ExitCode != 4 {
		t.Errorf("status after a start that failed = %+v", s)
	}
	other.kill()

	off()
	if err := m.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer m.hold("wait", ".")()
	eventually(t, "the service starts with the system", patience, func() bool { return status().Status == "running" })
	d.crictl("version")
	m.must("porthole.exe", "service", "uninstall")
	if s := status(); s.Installed {
		t.Errorf("status after uninstall = %+v", s)
	}
	m.must("porthole.exe", "service", "uninstall")
	m.fails(1, nil, "crictl.exe", d.crictlArgs("version")...)
}
