//go:build !windows

package winsvc

import (
	"context"
	"errors"
	"fmt"
)

var errNone = fmt.Errorf("windows services: %w", errors.ErrUnsupported)

func install(Service) error { return errNone }

func repoint(string, string, []string) error { return errNone }

func uninstall(context.Context, string) error { return errNone }

func start(context.Context, string) error { return errNone }

func stop(context.Context, string) error { return errNone }

func query(string) (State, error) { return State{}, errNone }

func runService(context.Context, string, func(error) int, func(context.Context, func()) error) error {
	return errNone
}

func openEvents(string) (Events, error) { return nil, errNone }
