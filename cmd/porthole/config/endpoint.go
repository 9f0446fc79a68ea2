package config

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
)

// EndpointKind is how clients reach the CRI.
type EndpointKind string

// The kinds of endpoints.
const (
	Unix EndpointKind = "unix"  // a socket
	Pipe EndpointKind = "npipe" // a named pipe of Windows
	TCP  EndpointKind = "tcp"   // loopback
)

// Endpoint is where the CRI is served.
type Endpoint struct {
	Kind    EndpointKind
	Address string // path, \\.\pipe\NAME, or IP:PORT
}

// String returns the endpoint as the kubelet and crictl take it.
func (e Endpoint) String() string {
	if e.Kind == Pipe {
		return "npipe://" + strings.ReplaceAll(e.Address, `\`, "/")
	}
	return string(e.Kind) + "://" + e.Address
}

const pipePrefix = `\\.\pipe\`

// pipeName is narrower than Windows: what a URL can carry as it is.
var pipeName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,200}$`)

// ParseEndpoint reads an absolute path, \\.\pipe\NAME, or one of the URLs that the
// kubelet takes: unix:///PATH, npipe:////./pipe/NAME, tcp://IP:PORT.
func ParseEndpoint(s string) (Endpoint, error) {
	switch kind, rest, isURL := strings.Cut(s, "://"); {
	case strings.HasPrefix(s, pipePrefix):
		return parsePipe(s)
	case path.IsAbs(s):
		return parseSocket(s)
	case isURL && EndpointKind(kind) == Unix:
		return parseSocket(rest)
	case isURL && EndpointKind(kind) == Pipe:
		return parsePipe(`\\` + strings.TrimLeft(strings.ReplaceAll(rest, "/", `\`), `\`))
	case isURL && EndpointKind(kind) == TCP:
		addr, err := netip.ParseAddrPort(rest)
		if err != nil || addr.Port() == 0 {
			return Endpoint{}, fmt.Errorf("%q is not an address such as 127.0.0.1:2376", rest)
		}
		if !addr.Addr().IsLoopback() {
			return Endpoint{}, fmt.Errorf("%s is not a loopback address: whoever reaches the CRI can do what root can", addr.Addr())
		}
		return Endpoint{TCP, addr.String()}, nil
	}
	return Endpoint{}, fmt.Errorf("%q is not an absolute path, npipe:////./pipe/NAME or tcp://127.0.0.1:PORT", s)
}

func parseSocket(p string) (Endpoint, error) {
	if !path.IsAbs(p) {
		return Endpoint{}, fmt.Errorf("%q is not an absolute path", p)
	}
	if len(p) > maxSocket {
		return Endpoint{}, fmt.Errorf("is longer than %d bytes, the most for a socket's path", maxSocket)
	}
	return Endpoint{Unix, p}, nil
}

func parsePipe(p string) (Endpoint, error) {
	name, ok := strings.CutPrefix(p, pipePrefix)
	if !ok || !pipeName.MatchString(name) {
		return Endpoint{}, fmt.Errorf("%q is not a pipe such as npipe:////./pipe/porthole, with a name of letters, digits, '.', '_' and '-'", p)
	}
	return Endpoint{Pipe, p}, nil
}

// DefaultDescriptor lets Administrators and SYSTEM use a pipe, and nobody else.
const DefaultDescriptor = "D:P(A;;GA;;;BA)(A;;GA;;;SY)"

// everybody are the trustees of SDDL that stand for more people than those who may do
// what Administrators can (Windows' list of SID strings).
var everybody = map[string]string{
	"WD": "everyone", "S-1-1-0": "everyone", "AN": "anonymous", "S-1-5-7": "anonymous",
	"AU": "all who have logged on", "S-1-5-11": "all who have logged on", "BU": "all users", "S-1-5-32-545": "all users",
	"BG": "guests", "S-1-5-32-546": "guests", "IU": "all who are logged on", "S-1-5-4": "all who are logged on",
	"NU": "all who come over the network", "S-1-5-2": "all who come over the network",
	"AC": "all app packages", "S-1-15-2-1": "all app packages", "DU": "all users of the domain", "DG": "guests of the domain",
	"LG": "guests", "RC": "restricted code", "S-1-5-12": "restricted code", "PS": "the object itself", "OW": "whoever owns it",
}

var ace = regexp.MustCompile(`^\(([^();]*);([^();]*);([^();]*);([^();]*);([^();]*);([^();]*)\)`)

// checkDescriptor refuses what lets too many in, and what lets nobody in. Whether Windows
// takes it is for Windows to say.
func checkDescriptor(s string) error {
	at := strings.Index(s, "D:")
	if at < 0 {
		return fmt.Errorf("%q has no list of who may connect, D:…, which lets everybody connect", s)
	}
	rest := s[at+2:]
	list := strings.IndexByte(rest, '(')
	if strings.Contains(rest, "NO_ACCESS_CONTROL") {
		return fmt.Errorf("%q lets everybody connect, who then can do what SYSTEM can", s)
	}
	if list < 0 {
		return fmt.Errorf("%q lets nobody connect", s)
	}
	allowed := 0
	for rest = rest[list:]; strings.HasPrefix(rest, "("); {
		m := ace.FindStringSubmatch(rest)
		if m == nil {
			return fmt.Errorf("%q: %q is no entry such as (A;;GA;;;BA)", s, rest)
		}
		rest = rest[len(m[0]):]
		if m[1] != "A" {
			if m[1] != "D" {
				return fmt.Errorf("%q: entries are to allow (A) or to deny (D), not %q", s, m[1])
			}
			continue
		}
		allowed++
		if who, bad := everybody[strings.ToUpper(m[6])]; bad {
			return fmt.Errorf("%q lets %s connect, who then can do what SYSTEM can", s, who)
		}
	}
	if rest != "" && !strings.HasPrefix(rest, "S:") {
		return fmt.Errorf("%q: %q is not understood", s, rest)
	}
	if allowed == 0 {
		return fmt.Errorf("%q lets nobody connect", s)
	}
	return nil
}
