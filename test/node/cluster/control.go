package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

const (
	etcdURL = "http://127.0.0.1:2379"
	apiURL  = "https://" + NodeIP + ":6443"
)

// users are who may talk to the API server, each with a token of the same name: their
// names there, and their groups.
var users = map[string]struct{ name, group string }{
	"admin":     {"admin", "system:masters"},
	"kcm":       {"system:kube-controller-manager", ""},
	"scheduler": {"system:kube-scheduler", ""},
	"proxy":     {"system:kube-proxy", ""},
	Node:        {"system:node:" + Node, "system:nodes"},
	WindowsNode: {"system:node:" + WindowsNode, "system:nodes"},
}

func (c *Cluster) kubeconfig(user string) string { return c.path("etc", user+".kubeconfig") }

// startControl starts etcd and what talks to it.
func (c *Cluster) startControl(ctx context.Context) error {
	if err := c.writeCredentials(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	etcd, err := c.start("etcd", "--data-dir", c.path("etcd"), "--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", "http://127.0.0.1:2380")
	if err != nil {
		return err
	}
	if err := etcd.await(ctx, answers(etcdURL+"/health")); err != nil {
		return err
	}
	key := c.path("pki", "sa.key")
	api, err := c.start("kube-apiserver", "--etcd-servers="+etcdURL, "--bind-address="+NodeIP, "--advertise-address="+NodeIP,
		"--secure-port=6443", "--cert-dir="+c.path("pki"), "--token-auth-file="+c.path("etc", "tokens.csv"),
		"--authorization-mode=Node,RBAC", "--service-cluster-ip-range="+serviceCIDR, "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file="+key, "--service-account-key-file="+key,
		"--kubelet-preferred-address-types=InternalIP") // no name of a node can be looked up
	if err != nil {
		return err
	}
	if err := api.await(ctx, func(ctx context.Context) error {
		out, err := c.Kubectl(ctx, "get", "--raw", "/readyz").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		return err
	}
	for name, args := range map[string][]string{
		"kube-controller-manager": {"--kubeconfig=" + c.kubeconfig("kcm"), "--use-service-account-credentials=true",
			"--service-account-private-key-file=" + key, "--root-ca-file=" + c.path("pki", "apiserver.crt"), "--leader-elect=false",
			"--bind-address=127.0.0.1", "--cert-dir=" + c.path("pki")},
		"kube-scheduler": {"--kubeconfig=" + c.kubeconfig("scheduler"), "--leader-elect=false", "--bind-address=127.0.0.1", "--cert-dir=" + c.path("pki")},
	} {
		if _, err := c.start(name, args...); err != nil {
			return err
		}
	}
	return nil
}

// startProxy starts kube-proxy, which may see what it needs by a role that each cluster has
// from the start. It ends when there is no node.
func (c *Cluster) startProxy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p, err := c.start("kube-proxy", "--config="+c.path("etc", "proxy.yaml"), "--hostname-override="+Node)
	if err != nil {
		return err
	}
	return p.await(ctx, answers("http://127.0.0.1:10256/healthz"))
}

// answers asks for a page.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	}
}

// writeCredentials writes what the programs know each other by.
func (c *Cluster) writeCredentials() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	errs := []error{os.WriteFile(c.path("pki", "sa.key"), block, 0o600)}
	var tokens strings.Builder
	for user, who := range users {
		fmt.Fprintf(&tokens, "%s-token,%s,%s,%s\n", user, who.name, user, who.group)
		text := fmt.Sprintf(kubeconfigText, c.path("pki", "apiserver.crt"), apiURL, user+"-token")
		errs = append(errs, os.WriteFile(c.kubeconfig(user), []byte(text), 0o600))
	}
	errs = append(errs, os.WriteFile(c.path("etc", "tokens.csv"), []byte(tokens.String()), 0o600),
		os.WriteFile(c.path("etc", "proxy.yaml"), fmt.Appendf(nil, proxyText, c.kubeconfig("proxy")), 0o600))
	return errors.Join(errs...)
}

const kubeconfigText = `apiVersion: v1
kind: Config
current-context: porthole
clusters:
- name: porthole
  cluster: {certificate-authority: %q, server: %q}
users:
- name: porthole
  user: {token: %q}
contexts:
- name: porthole
  context: {cluster: porthole, user: porthole}
`

// proxyText is kube-proxy's configuration. It leaves the machine's connection tracking as it
// is, and hides whom a connection is from, so that two pods on one bridge answer each
// other through it whether or not bridges are filtered.
const proxyText = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
bindAddress: 127.0.0.1
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {kubeconfig: %q}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {masqueradeAll: true, minSyncPeriod: 100ms, syncPeriod: 10s}
`

// command is a program of the host.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
