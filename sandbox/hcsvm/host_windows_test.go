package hcsvm

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/Microsoft/hnslib/hcn"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/internal/testneed"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/drivertest"
	"github.com/porthole-run/porthole/sandbox/drivertest/wire"
)

// TestSuite_Host runs the suite on this machine's Host Compute Service, with the guest of
// drivertest, which cannot be built here: PORTHOLE_HCS_KERNEL and PORTHOLE_HCS_INITRD name it.
func TestSuite_Host(t *testing.T) {
	kernel, initrd := os.Getenv("PORTHOLE_HCS_KERNEL"), os.Getenv("PORTHOLE_HCS_INITRD")
	if kernel == "" || initrd == "" {
		testneed.Skip(t, "PORTHOLE_HCS_KERNEL and PORTHOLE_HCS_INITRD, the suite's guest")
	}
	lib, err := hcs.Open()
	if err != nil {
		t.Fatal(err)
	}
	hns, err := hcnnet.SystemHNS()
	if err != nil {
		t.Fatal(err)
	}
	host := hcs.New(lib)
	defer host.Close()
	driver, err := New(Config{
		Host:        host,
		CommandLine: "quiet panic=-1 reboot=t oops=panic random.trust_cpu=on cryptomgr.notests lsm= audit=0",
		Ports:       []uint32{wire.Echo, wire.Disk, wire.Link, wire.Crash, wire.Leave},
		Endpoint: func(ctx context.Context, namespace, id string) (Endpoint, error) {
			mac, err := hcnnet.LookUp(ctx, hns, namespace, id)
			return Endpoint{ID: id, MAC: mac}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Suite(t, drivertest.Env{
		Driver: driver,
		Config: func(t *testing.T, id string) sandbox.VMConfig {
			return sandbox.VMConfig{ID: id, Dir: t.TempDir(), VCPUs: 1, MemoryMiB: 256, Kernel: kernel, Initrd: initrd}
		},
		NIC:   hostNetwork,
		NoRaw: true,
		Left: func(t *testing.T) string {
			all, err := host.List(t.Context(), Owner)
			if err != nil {
				t.Error(err)
			}
			return strings.TrimPrefix(strings.Repeat(" vm", len(all)), " ")
		},
	})
}

// hostNetwork makes a network of HNS with a namespace and an endpoint for the suite's VM.
func hostNetwork(t *testing.T) (n sandbox.NIC, guest string, carry func(*testing.T)) {
	t.Helper()
	const subnet, gateway, address = "198.51.100.0/24", "198.51.100.1", "198.51.100.2"
	network, err := (&hcn.HostComputeNetwork{
		Name: "suite", Type: hcn.L2Bridge, SchemaVersion: hcn.V2SchemaVersion(),
		Ipams: []hcn.Ipam{{Type: "Static", Subnets: []hcn.Subnet{{IpAddressPrefix: subnet, Routes: []hcn.Route{{NextHop: gateway, DestinationPrefix: "0.0.0.0/0"}}}}}},
	}).Create()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clean(t, network.Delete()) })
	namespace := &hcn.HostComputeNamespace{SchemaVersion: hcn.V2SchemaVersion()}
	if namespace, err = namespace.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clean(t, namespace.Delete()) })
	// Named as a pod's is, since the emulator goes by that.
	pod := strings.ReplaceAll(systemID("suite-running"), "-", "")
	if _, err := hex.DecodeString(pod); err != nil {
		t.Fatal(err)
	}
	endpoint := &hcn.HostComputeEndpoint{
		Name: pod + "_suite", HostComputeNetwork: network.Id, SchemaVersion: hcn.V2SchemaVersion(),
		IpConfigurations: []hcn.IpConfig{{IpAddress: address}},
	}
	if endpoint, err = endpoint.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clean(t, endpoint.Delete()) })
	if err := hcn.AddNamespaceEndpoint(namespace.Id, endpoint.Id); err != nil {
		t.Fatal(err)
	}
	carry = func(t *testing.T) {
		t.Helper()
		if err := drivertest.EchoTCP(fmt.Sprintf("%s:%d", address, wire.TCPEcho)); err != nil {
			t.Errorf("speak to the guest: %v", err)
		}
	}
	return sandbox.NIC{Name: "eth0", Namespace: namespace.Id, Interface: endpoint.Id}, address + "/24", carry
}

func clean(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
