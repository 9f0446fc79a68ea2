package main

import (
	"strings"

	"github.com/porthole-run/porthole/test/node/cluster"
)

// filled puts the images into a manifest.
func filled(manifest string) string {
	return strings.NewReplacer("IMAGE", cluster.Image, "NEXT", cluster.NextImage).Replace(manifest)
}
