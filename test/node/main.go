package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/porthole-run/porthole/test/node/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

// run starts a cluster, says how to use it, and ends it when ctx does.
func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("node", flag.ContinueOnError)
	c := cluster.Config{Name: "porthole-node", Extra: cluster.Handlers}
	fetch := f.Bool("fetch", false, "fill the cache and run nothing")
	kubectl := f.String("kubectl", "kubectl", "how kubectl is called from outside of these namespaces")
	f.StringVar(&c.Dir, "dir", "/var/lib/porthole-node", "`folder` of the cluster; removed at the end")
	f.StringVar(&c.Kube, "kube", "", "`folder` of etcd and the programs of Kubernetes")
	f.StringVar(&c.Bin, "bin", "out/bin", "`folder` of porthole and probe")
	f.StringVar(&c.Guest, "guest", "out/guest-debian", "`folder` of the guest bundle")
	f.StringVar(&c.Cache, "cache", filepath.Join(os.TempDir(), "porthole-cache"), "`folder` for downloads")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *fetch {
		return cluster.Fetch(ctx, c.Cache)
	}
	for _, p := range []*string{&c.Dir, &c.Kube, &c.Bin, &c.Guest, &c.Cache} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(c.Dir)
	begin := time.Now()
	fmt.Println("starting a cluster of one node in", c.Dir)
	k, err := cluster.Start(ctx, c)
	if err != nil {
		return err
	}
	fmt.Printf("the node is ready, after %s\n", time.Since(begin).Round(time.Second))
	fmt.Printf(usage, *kubectl, k.Logs(), k.Runtime.LogPath)
	<-ctx.Done()
	fmt.Println("ending the cluster")
	return k.Stop()
}

const usage = `
Try, from another terminal:

    %[1]s get nodes -o wide
    %[1]s create deployment web --image=` + cluster.Image + ` --replicas=2
    %[1]s get pods -o wide -w
    %[1]s exec deploy/web -- uname -r

What the programs print is in %[2]s,
and what the runtime does in %[3]s.
Ctrl-C here, or make node-stop, ends the cluster.
`
