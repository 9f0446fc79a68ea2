package main

import (
	"errors"
	"flag"
	"fmt"

	"github.com/porthole-run/porthole/cmd/porthole/config"
)

// The exit codes.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitConfig
	exitRunning
	exitUnsupported
)

// exitTexts says what the codes mean, in `porthole help` and in docs/configuration.md.
var exitTexts = [...]string{
	exitOK:          "done",
	exitFailed:      "what was asked for failed; doctor: something needed is missing",
	exitUsage:       "unknown command, flag or argument",
	exitConfig:      "the configuration is not valid",
	exitRunning:     "another porthole uses the same root, state folder or socket",
	exitUnsupported: "not built for this system",
}

var (
	// errRunning is wrapped by what found another daemon at work.
	errRunning = errors.New("another porthole is using it")
	// errMissing is doctor's: it has printed what is missing.
	errMissing = errors.New("something that is needed is missing")
)

// usageError is about how the command was called.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// loggedError is in the log already, in the form that the configuration asked for.
type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// exitCode maps an error to the process's exit code.
func exitCode(err error) int {
	var usage usageError
	var bad *config.Error
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &bad):
		return exitConfig
	case errors.Is(err, errRunning):
		return exitRunning
	case errors.Is(err, errors.ErrUnsupported):
		return exitUnsupported
	default:
		return exitFailed
	}
}

// errorText is what is printed about an error; nothing when all was said.
func errorText(err error) string {
	var logged loggedError
	if err == nil || errors.Is(err, flag.ErrHelp) || errors.Is(err, errMissing) || errors.Is(err, errHost) || errors.As(err, &logged) {
		return ""
	}
	return err.Error()
}
