package main

import (
	"log/slog"
	"path/filepath"

	"github.com/porthole-run/porthole/cmd/porthole/config"
	"github.com/porthole-run/porthole/internal/logkey"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// networkHost is HNS. A host that lacks it gets a daemon all the same: Status says what
// is missing, and another runtime behind this one goes on.
func networkHost(c config.Config, log *slog.Logger) (*hcnnet.Host, error) {
	hns, err := hcnnet.SystemHNS()
	if err != nil {
		log.Warn("pods have no networks", logkey.Error, err)
		hns = hcnnet.Missing(err)
	}
	return hcnnet.New(hcnnet.Config{Dir: filepath.Join(c.Root, "hns"), Logger: log}, hns)
}
