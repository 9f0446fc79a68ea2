package main

import (
	"log/slog"
	"path/filepath"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// networkHost is HNS.
func networkHost(c config.Config, log *slog.Logger) (*hcnnet.Host, error) {
	hns, err := hcnnet.SystemHNS()
	if err != nil {
		return nil, err
	}
	return hcnnet.New(hcnnet.Config{Dir: filepath.Join(c.Root, "hns"), Logger: log}, hns)
}
