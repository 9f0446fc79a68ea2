package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/share/card"
)

// TestPOSIX runs the POSIX card in containers, on a folder of the host: the last word,
// with the guest's own kernel. The card's process is root with all
// rights, as it acts as several users.
func TestPOSIX(t *testing.T) {
	tools := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(tools, "posix"), "./test/posix")
	cmd.Dir = filepath.Join("..", "..") // of the main module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the card: %v: %s", err, text)
	}
	data := t.TempDir()
	if err := os.Chmod(data, 0o777); err != nil {
		t.Fatal(err)
	}
	p := runPod(t, env.server, func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{Privileged: true}
	})
	var areas []string
	for _, c := range card.Checks() {
		if !slices.Contains(areas, c.Area) {
			areas = append(areas, c.Area)
		}
	}
	for _, area := range areas {
		t.Run(area, func(t *testing.T) {
			q := *p
			q.t = t
			c := sh(area, `/card/posix -run "guest, hostfs over FUSE" -dir /data -only `+area+`/`)
			c.Linux.SecurityContext = &cri.LinuxContainerSecurityContext{Privileged: true}
			c.Mounts = []*cri.Mount{{ContainerPath: "/card", HostPath: tools, Readonly: true}, bind("/data", data)}
			k := q.start(c)
			s := k.wait()
			t.Logf("%s", k.stdout())
			if s.ExitCode != 0 {
				t.Errorf("the card ended with code %d: %s", s.ExitCode, k.logText("stderr"))
			}
		})
	}
}
