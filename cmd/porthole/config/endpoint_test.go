package config

import (
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	long := "/" + strings.Repeat("x", maxSocket)
	for text, want := range map[string]struct {
		kind    EndpointKind
		address string
		url     string // what String returns
		err     string
	}{
		"/run/p.sock":                  {Unix, "/run/p.sock", "unix:///run/p.sock", ""},
		"unix:///run/p.sock":           {Unix, "/run/p.sock", "unix:///run/p.sock", ""},
		"npipe:////./pipe/porthole":    {Pipe, `\\.\pipe\porthole`, "npipe:////./pipe/porthole", ""},
		"npipe://./pipe/porthole":      {Pipe, `\\.\pipe\porthole`, "npipe:////./pipe/porthole", ""},
		`npipe:\\.\pipe\porthole`:      {err: "is not an absolute path"},
		`\\.\pipe\porthole`:            {Pipe, `\\.\pipe\porthole`, "npipe:////./pipe/porthole", ""},
		`npipe://\\.\pipe\porthole`:    {Pipe, `\\.\pipe\porthole`, "npipe:////./pipe/porthole", ""},
		"tcp://127.0.0.1:2376":         {TCP, "127.0.0.1:2376", "tcp://127.0.0.1:2376", ""},
		"tcp://[::1]:2376":             {TCP, "[::1]:2376", "tcp://[::1]:2376", ""},
		"tcp://0.0.0.0:2376":           {err: "not a loopback address"},
		"tcp://10.0.0.1:2376":          {err: "not a loopback address"},
		"tcp://localhost:2376":         {err: "is not an address"},
		"tcp://127.0.0.1:0":            {err: "is not an address"},
		"tcp://127.0.0.1":              {err: "is not an address"},
		"tcp://127.0.0.1:99999":        {err: "is not an address"},
		"run/p.sock":                   {err: "is not an absolute path"},
		"unix://run/p.sock":            {err: "is not an absolute path"},
		"http://127.0.0.1:1":           {err: "is not an absolute path"},
		"":                             {err: "is not an absolute path"},
		long:                           {err: "longer than 107 bytes"},
		"npipe:////server/pipe/p":      {err: "is not a pipe"},
		"npipe:////./pipe/":            {err: "is not a pipe"},
		"npipe:////./pipe/a/../b":      {err: "is not a pipe"},
		`\\.\pipe\a\b`:                 {err: "is not a pipe"},
		"npipe:////./pipe/porthole%00": {err: "is not a pipe"},
	} {
		e, err := ParseEndpoint(text)
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("ParseEndpoint(%q) = %v, %v, want %q", text, e, err, want.err)
			}
			continue
		}
		if err != nil || e.Kind != want.kind || e.Address != want.address || e.String() != want.url {
			t.Errorf("ParseEndpoint(%q) = %+v (%s), %v, want %+v", text, e, e, err, want)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"/a", "npipe:////./pipe/a", "tcp://127.0.0.1:1", `\\.\pipe\x`, "unix:///a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseEndpoint(s)
		if err != nil {
			return
		}
		if again, err := ParseEndpoint(e.String()); err != nil || again != e {
			t.Errorf("%q is %+v, whose text %q is %+v, %v", s, e, e, again, err)
		}
	})
}

func TestCheckDescriptor(t *testing.T) {
	for sddl, want := range map[string]string{
		DefaultDescriptor: "",
		"O:SYG:SYD:PAI(A;;GA;;;BA)(A;OICI;GRGW;;;S-1-5-21-1-2-3-1001)": "",
		"D:(D;;GA;;;NU)(A;;GA;;;SY)S:(ML;;NW;;;HI)":                    "",
		"":                           "has no list",
		"O:SYG:SY":                   "has no list",
		"D:NO_ACCESS_CONTROL":        "lets everybody",
		"D:P":                        "lets nobody",
		"D:(D;;GA;;;WD)":             "lets nobody",
		"D:(A;;GA;;;WD)":             "lets everyone",
		"D:(A;;GA;;;BA)(A;;GR;;;au)": "lets all who have logged on",
		"D:(A;;GA;;;S-1-1-0)":        "lets everyone",
		"D:(A;;GA;;BA)":              "is no entry",
		"D:(A;;GA;;;BA":              "is no entry",
		"D:(A;;GA;;;BA)x":            "is not understood",
		`D:(XA;;GA;;;BA;(x))`:        "is no entry",
		"D:(OA;;GA;;;BA)":            "are to allow (A) or to deny",
	} {
		err := checkDescriptor(sddl)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("checkDescriptor(%q) = %v, want %q", sddl, err, want)
		}
	}
}

// TestParse_Endpoint checks what belongs together in [grpc].
func TestParse_Endpoint(t *testing.T) {
	const certs = "cert_file = \"/c\"\nkey_file = \"/k\"\nclient_ca_file = \"/a\"\n"
	for name, tt := range map[string]struct{ text, err string }{
		"unix":              {"", ""},
		"pipe":              {`socket = "npipe:////./pipe/porthole"`, ""},
		"tcp_bare":          {`socket = "tcp://127.0.0.1:2376"`, "line 2: grpc.socket: tcp:// needs cert_file"},
		"tcp_with_certs":    {"socket = \"tcp://127.0.0.1:2376\"\n" + certs, ""},
		"tcp_half":          {"socket = \"tcp://127.0.0.1:2376\"\ncert_file = \"/c\"", "grpc: cert_file, key_file and client_ca_file are needed together"},
		"tcp_relative":      {"socket = \"tcp://127.0.0.1:2376\"\n" + strings.Replace(certs, "/c", "c", 1), `grpc.cert_file: "c" is not an absolute path`},
		"tcp_insecure":      {"socket = \"tcp://127.0.0.1:2376\"\ninsecure_tcp = true", ""},
		"tcp_both":          {"socket = \"tcp://127.0.0.1:2376\"\ninsecure_tcp = true\n" + certs, "grpc.insecure_tcp: contradicts cert_file"},
		"tcp_far":           {"socket = \"tcp://192.0.2.1:2376\"\n" + certs, "not a loopback address"},
		"tcp_far_insecure":  {"socket = \"tcp://0.0.0.0:2376\"\ninsecure_tcp = true", "not a loopback address"},
		"unix_with_certs":   {certs, "are for tcp:// alone"},
		"unix_insecure":     {"insecure_tcp = true", "grpc.insecure_tcp: is for tcp:// alone"},
		"descriptor_of_all": {`security_descriptor = "D:(A;;GA;;;WD)"`, "grpc.security_descriptor: "},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Parse([]byte("[grpc]\n" + tt.text))
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("Parse = %v, want %q", err, tt.err)
			}
			if err == nil && c.GRPC.Endpoint().Kind == "" {
				t.Error("no endpoint")
			}
		})
	}
}
