package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/network/hcnnet"
	"github.com/porthole-run/porthole/sandbox"
	"github.com/porthole-run/porthole/sandbox/hcsvm"
)

// driver makes the driver on Hyper-V, whose NICs are endpoints of HNS.
func (s driverSettings) driver(log *slog.Logger) (sandbox.Driver, error) {
	find := sync.OnceValues(hcnnet.SystemHNS) // when there is a NIC to plug in
	return newHCS(hcsvm.Config{
		CommandLine: s.CommandLine, StartTimeout: s.StartTimeout, Log: log,
		Endpoint: func(ctx context.Context, namespace, id string) (hcsvm.Endpoint, error) {
			hns, err := find()
			if err != nil {
				return hcsvm.Endpoint{}, err
			}
			mac, err := hcnnet.LookUp(ctx, hns, namespace, id)
			return hcsvm.Endpoint{ID: id, MAC: mac}, err
		},
	})
}

func newHCS(c hcsvm.Config) (*hcsvm.Driver, error) {
	lib, err := hcs.Open()
	if err != nil {
		return nil, err
	}
	c.Host = hcs.New(lib)
	return hcsvm.New(c)
}

// endLeftovers ends the VMs that none of the live shims has.
func endLeftovers(ctx context.Context, live []string, log *slog.Logger) error {
	d, err := newHCS(hcsvm.Config{Log: log})
	if err != nil {
		return err
	}
	_, err = d.EndLeftovers(ctx, live)
	return err
}

func newScratch(config.Config, bool, *slog.Logger) (sandbox.Scratch, error) {
	return hcsvm.NewScratch(), nil
}
