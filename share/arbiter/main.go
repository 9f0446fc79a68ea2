package arbiter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/porthole-run/porthole/internal/atomicfile"
	"github.com/porthole-run/porthole/internal/filelock"
	"github.com/porthole-run/porthole/internal/localsock"
)

// files is the folder of an arbiter's files.
type files string

func (f files) socket() string { return filepath.Join(string(f), "arbiter.sock") }
func (f files) lock() string   { return filepath.Join(string(f), "arbiter.lock") }
func (f files) record() string { return filepath.Join(string(f), "arbiter.json") }

// Main is the arbiter process for a folder, which is made if need be. It returns nil
// when it has had no members for a second, at once when there is an arbiter already, and
// when ctx ends.
func Main(ctx context.Context, dir string, log *slog.Logger) error {
	return run(ctx, dir, log, func(*server) {})
}

// run is Main; it shows the server that it made.
func run(ctx context.Context, dir string, log *slog.Logger, made func(*server)) error {
	f := files(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	held, err := filelock.Take(f.lock())
	if errors.Is(err, filelock.ErrHeld) { // another is the arbiter
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.lock(), err)
	}
	defer held.Close() // last: the next one finds no socket of ours
	before, err := f.readRecord()
	if err != nil {
		log.Warn("what the arbiter before left is not readable", "error", err)
	}
	if err := os.Remove(f.socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := localsock.Listen(ctx, f.socket())
	if err != nil {
		return err
	}
	defer l.Close()
	s := newServer(before, f.writeRecord, log)
	made(s)
	if err := s.serve(ctx, l); err != nil || ctx.Err() != nil {
		return err
	}
	if err := os.Remove(f.record()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f files) readRecord() (record, error) {
	var r record
	b, err := os.ReadFile(f.record())
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return record{}, err
	}
	return r, nil
}

func (f files) writeRecord(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(f.record(), b, 0o600)
}
