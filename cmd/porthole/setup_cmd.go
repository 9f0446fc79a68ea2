package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cmd/porthole/setup"
)

// runSetupInstall installs the release that this program is of, or lets it take the place of
// an earlier one.
func runSetupInstall(ctx context.Context, std stdio, args []string) error {
	f := flags(std, "setup install")
	install, data := setupFlags(f)
	from := f.String("from", "", "the release's `folder`; default: this program's")
	anyway := f.Bool("anyway", false, "install although the host lacks something")
	cni := f.String("cni-conf", "", "a CNI configuration `file` to place; default: none")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if *from == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		*from = filepath.Dir(self)
	}
	s, err := newSetup(std, *install, *data)
	if err != nil {
		return err
	}
	done, err := s.Install(ctx, setup.Options{From: *from, Version: build().Version, Anyway: *anyway, CNIConf: *cni})
	if err != nil {
		return elevated(err)
	}
	text := "porthole " + done.Version + " is installed and serves"
	if done.Before != "" {
		text += "; the version before was " + done.Before
	}
	_, err = fmt.Fprintln(std.out, text)
	return err
}

// runSetupUninstall removes all that Install and the daemon have made.
func runSetupUninstall(ctx context.Context, std stdio, args []string) error {
	f := flags(std, "setup uninstall")
	install, data := setupFlags(f)
	keep := f.Bool("keep-data", false, "keep configuration, images and records")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	s, err := newSetup(std, *install, *data)
	if err != nil {
		return err
	}
	if err := s.Uninstall(ctx, self, *keep); err != nil {
		return elevated(err)
	}
	_, err = fmt.Fprintln(std.out, "porthole is removed")
	return err
}

func setupFlags(f flagSet) (install, data *string) {
	return f.String("install-dir", "", "`folder` for programs; default: porthole in %ProgramFiles%"),
		f.String("data-dir", "", "`folder` for configuration, images and records; default: porthole in %ProgramData%")
}

func newSetup(std stdio, install, data string) (*setup.Setup, error) {
	c, err := setupConfig()
	if err != nil {
		return nil, err
	}
	if install != "" {
		c.InstallDir = install
	}
	if data != "" {
		c.DataDir = data
	}
	for _, dir := range []*string{&c.InstallDir, &c.DataDir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, fmt.Errorf("find folder: %w", err)
		}
	}
	c.Log = slog.New(slog.NewTextHandler(std.err, nil))
	return setup.New(c), nil
}

// askReadyEvery is how often a daemon that starts is asked whether it is ready.
const askReadyEvery = time.Second

// untilReady asks the daemon of a configuration for its status until it is ready to run
// pods, or ctx ends.
func untilReady(ctx context.Context, path string) error {
	c, err := config.Load(path)
	if err != nil {
		return err
	}
	ticks := time.NewTicker(askReadyEvery)
	defer ticks.Stop()
	for {
		err := ready(ctx, c.GRPC.Endpoint())
		if err == nil {
			return nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
	}
}

// ready is nil when the runtime at an endpoint says that it is ready. Its network is the cluster's
// affair, which may come later. Over TCP, where a client needs a certificate, serving is all that is seen.
func ready(ctx context.Context, e config.Endpoint) error {
	if e.Kind == config.TCP {
		return answers(ctx, e)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///cri", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, e) }))
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := runtimeapi.NewRuntimeServiceClient(conn).Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return errors.New(status.Convert(err).Message())
	}
	for _, c := range r.GetStatus().GetConditions() {
		if c.GetType() == runtimeapi.RuntimeReady && !c.GetStatus() {
			return fmt.Errorf("the runtime is not ready: %s", c.GetMessage())
		}
	}
	return nil
}
