//go:build !linux

package hcsemu

import (
	"errors"

	"github.com/porthole-run/porthole/network/hcnnet"
)

func makeBridge(string, []string) error     { return errors.ErrUnsupported }
func removeBridge(string) error             { return errors.ErrUnsupported }
func toBridge(string, string) error         { return errors.ErrUnsupported }
func fromBridge(string) error               { return errors.ErrUnsupported }
func counters(string) (hcnnet.Stats, error) { return hcnnet.Stats{}, errors.ErrUnsupported }
