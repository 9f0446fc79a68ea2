package hcsvm

import (
	"testing"

	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
)

func TestSuite(t *testing.T) {
	w := newWorld(t, withNICs())
	drivertest.Suite(t, drivertest.Env{
		Driver: w.driver,
		Config: w.config,
		NIC: func(*testing.T) (sandbox.NIC, string, func(*testing.T)) {
			n := sandbox.NIC{Name: "eth0", Namespace: "0b4f3c57-0000-0000-0000-000000000000", Interface: endpointID}
			return n, "", func(*testing.T) {}
		},
		NoRaw: true,
		Left: func(*testing.T) string {
			w.svc.Settle()
			return w.svc.String()
		},
	})
	if left := w.left(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

func TestSaveSuite(t *testing.T) {
	w := newWorld(t, withNICs())
	drivertest.SaveSuite(t, drivertest.Env{
		Driver: w.driver,
		Config: w.config,
		NIC: func(*testing.T) (sandbox.NIC, string, func(*testing.T)) {
			n := sandbox.NIC{Name: "eth0", Namespace: "0b4f3c57-0000-0000-0000-000000000000", Interface: endpointID}
			return n, "", func(*testing.T) {}
		},
		NoRaw: true, StateSuffix: ".vmrs",
		Left: func(*testing.T) string {
			w.svc.Settle()
			return w.svc.String()
		},
	})
	if left := w.left(t); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}
