package template

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/porthole-run/porthole/internal/filelook"
	"github.com/porthole-run/porthole/internal/filesum"
)

// inputs is what templates were made from: how the files looked, and a digest of all.
type inputs struct {
	looks  filelook.Look
	digest string
}

// examine looks at the files and reads them.
func (c Config) examine(ctx context.Context) (inputs, error) {
	var in inputs
	h := sha256.New()
	fmt.Fprintf(h, "%d %s\n", len(c.Facts), c.Facts)
	for _, path := range c.Files {
		if err := ctx.Err(); err != nil {
			return inputs{}, err
		}
		// Looked at first: a file that changes while it is read looks different after.
		look, err := filelook.At(path)
		if err != nil {
			return inputs{}, fmt.Errorf("examine what templates are made from: %w", err)
		}
		sum, err := filesum.SHA256(path)
		if err != nil {
			return inputs{}, fmt.Errorf("examine what templates are made from: %w", err)
		}
		in.looks = append(in.looks, look...)
		fmt.Fprintln(h, sum)
	}
	in.digest = hex.EncodeToString(h.Sum(nil))
	return in, nil
}

// current tells, without reading them, whether the files are those that were read.
func (c Config) current(in inputs) bool {
	now, err := filelook.At(c.Files...)
	return err == nil && now.Same(in.looks)
}
