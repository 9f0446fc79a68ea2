// Package deploy holds the files that an installation starts from. It embeds those that
// programs of this repository install themselves.
package deploy

import _ "embed"

// CNIConf is the conf list of the default network: a bridge with IPv4 and IPv6.
//
//go:embed cni/10-porthole.conflist
var CNIConf []byte
