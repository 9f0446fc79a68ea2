package e2e

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/porthole-run/porthole/test/harness"
)

// server is one `porthole serve` with folders of its own.
type server struct {
	*harness.Server
}

// serverConfig is what a test changes of the usual configuration.
type serverConfig struct {
	root    string // where images and records go; empty: in the server's folder
	guest   string // another guest bundle
	cniConf string // text of the only CNI conf list; empty: the bridge of deploy/cni
	vm      string // further TOML in [vm]
	images  string // further TOML in [images]
	extra   string // further TOML at the end
}

// templateVar sets vm.template for the whole suite.
const templateVar = "PORTHOLE_E2E_TEMPLATE"

// newServer writes the configuration of a server whose folders are under dir.
func newServer(dir string, c serverConfig) (*server, error) {
	conf := []byte(c.cniConf)
	if len(conf) == 0 && env.windows == nil {
		var err error
		if conf, err = os.ReadFile("../../deploy/cni/10-porthole.conflist"); err != nil {
			return nil, err
		}
	}
	if c.guest == "" {
		c.guest = env.guest
	}
	if how := os.Getenv(templateVar); how != "" && !strings.Contains(c.vm, "template =") {
		c.vm += fmt.Sprintf("\ntemplate = %q\n", how)
	}
	h := harness.Config{Dir: dir, Bin: env.bin, Guest: c.guest, Root: c.root, Accel: "tcg", CNIConf: conf, VM: c.vm, Images: c.images, Extra: c.extra}
	if w := env.windows; w != nil {
		h.Bin, h.Tools, h.Windows = w.bin, env.bin, w.host
	}
	s, err := harness.New(h)
	return &server{s}, err
}

// DumpLog copies the end of the server's log to w.
func (s *server) DumpLog(w io.Writer) {
	fmt.Fprintf(w, "--- log of the server in %s\n%s\n", s.Dir, s.LogTail())
}
