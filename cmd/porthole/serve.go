package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/cri"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/internal/privatedir"
	"github.com/porthole-run/porthole/streaming"
)

// runServe is the daemon. It ends on SIGTERM or SIGINT, having answered the calls that
// run; pods go on.
func runServe(ctx context.Context, io stdio, args []string) error {
	f := flags(io, "serve")
	path := configFlag(f)
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	if err := supported(); err != nil {
		return err
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	log, closeLog, err := openLog(c.Log, io.err)
	if err != nil {
		return err
	}
	defer closeLog()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	return serveLogged(ctx, c, log, func() {})
}

// serveLogged is serve with its end in the log.
func serveLogged(ctx context.Context, c config.Config, log *slog.Logger, ready func()) error {
	ctx = logkey.NewContext(ctx, log)
	if err := serve(ctx, c, log, ready); err != nil {
		log.Error("porthole ends", logkey.Error, err)
		return loggedError{err}
	}
	log.Info("porthole ends; pods go on")
	return nil
}

// serve makes all parts, serves until ctx ends, and takes the parts down again. It calls
// ready when clients can connect.
func serve(ctx context.Context, c config.Config, log *slog.Logger, ready func()) (err error) {
	b := build()
	log.Info("porthole starts", logkey.Version, b.Version, "revision", b.Revision, logkey.Path, c.Root)
	unlock, err := lockFolders(c.Root, c.State)
	if err != nil {
		return err
	}
	defer unlock()

	reg := newRegistry(b)
	n, err := newNode(ctx, c, log, reg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close(ctx)) }()

	streams, err := streaming.New(streaming.Config{
		Addr: c.Streaming.Address, CertFile: c.Streaming.CertFile, KeyFile: c.Streaming.KeyFile,
		IdleTimeout: time.Duration(c.Streaming.IdleTimeout), Logger: log,
	}, executor{n.manager})
	if err != nil {
		return err
	}
	defer streams.Close()
	words, closeWords, err := windowsDialect(c, log)
	if err != nil {
		return err
	}
	defer closeWords()
	edge := cri.NewServer(cri.Deps{
		Pods: n.manager, Containers: n.manager, Processes: n.manager, Network: n.manager,
		Images: criImages{n.images}, Disks: criDisks{n.manager, imagesDir(c)}, Streams: streamURLs{streams},
		Usage: n.manager, Events: n.manager,
	}, cri.Options{
		Version: b.Version, Handlers: handlerNames(c), CgroupDriver: cgroupDriver(c.VM.CgroupDriver),
		Ready: n.ready, Info: n.info, Journal: n.journal, Logger: log, Metrics: reg, Dialect: words,
	})
	front, closeFront, err := criFront(c, edge, log)
	if err != nil {
		return err
	}
	defer closeFront()

	socket, err := listenCRI(ctx, c.GRPC)
	if err != nil {
		return err
	}
	defer socket.Close()
	admin, err := listenAdmin(ctx, c)
	if err != nil {
		return err
	}
	defer admin.Close()
	var metrics net.Listener
	if c.Metrics.Address != "" {
		if metrics, err = net.Listen("tcp", c.Metrics.Address); err != nil {
			return fmt.Errorf("listen for metrics: %w", err)
		}
		defer metrics.Close()
		log.Info("metrics are served", logkey.Address, "http://"+metrics.Addr().String()+"/metrics")
	}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return front.Serve(ctx, socket) })
	group.Go(func() error { return streams.Serve(ctx) })
	group.Go(func() error { return serveHTTP(ctx, admin, adminHandler(n.images, n.journal, serveTop(n.manager))) })
	if metrics != nil {
		group.Go(func() error { return serveHTTP(ctx, metrics, metricsHandler(reg)) })
	}
	if n.host != nil {
		group.Go(func() error { return watchNetworks(ctx, networkCheckEvery, n.host, n.manager, log) })
	}
	log.Info("porthole serves", logkey.Address, c.GRPC.Socket, "streams", streams.URL(),
		logkey.Accelerator, n.accel.Accel, logkey.Reason, n.accel.Reason)
	ready()
	return group.Wait()
}

// rootMode lets a VM's user through to its own disks.
const rootMode = 0o711

// lockFolders makes the folders that belong to one daemon alone and takes the lock of
// each, before anything in them is touched. errRunning when another daemon has one.
func lockFolders(dirs ...string) (unlock func(), err error) {
	var locks []*os.File
	unlock = func() {
		for _, l := range locks {
			_ = l.Close()
		}
	}
	for _, dir := range dirs {
		if err := privatedir.Make(dir, rootMode); err != nil {
			unlock()
			return nil, fmt.Errorf("make folder: %w", err)
		}
		l, err := lockFile(filepath.Join(dir, "lock"))
		if err != nil {
			unlock()
			return nil, err
		}
		locks = append(locks, l)
	}
	return unlock, nil
}
