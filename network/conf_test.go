package network

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestLoadConf(t *testing.T) {
	const list = `{"cniVersion":"1.0.0","name":"LIST","plugins":[{"type":"bridge"}]}`
	tests := []struct {
		name    string
		files   map[string]string
		network string
		plugins []string
		err     string // part of the error, which also names the file
	}{
		{"list", map[string]string{"10-a.conflist": list}, "LIST", []string{"bridge"}, ""},
		{"single", map[string]string{"10-a.conf": `{"cniVersion":"0.4.0","name":"n","type":"ptp","ipam":{"type":"host-local"}}`}, "n", []string{"ptp", "host-local"}, ""},
		{"single_json", map[string]string{"10-a.json": `{"name":"n","type":"ptp"}`}, "n", []string{"ptp"}, ""},
		{"first_by_name", map[string]string{"20-b.conflist": `{"name":"late","plugins":[{"type":"x"}]}`, "10-a.conflist": list, "00-readme.txt": "no"}, "LIST", []string{"bridge"}, ""},
		{"folder_of_plugins", map[string]string{"10-a.conflist": `{"name":"n"}`, "n/1.conf": `{"type":"vlan"}`}, "n", []string{"vlan"}, ""},
		{"none", map[string]string{"readme.md": "x"}, "", nil, "no network configuration in "},
		{"empty_file", map[string]string{"10-a.conflist": ""}, "", nil, "10-a.conflist: line 1: unexpected end"},
		{"broken_json", map[string]string{"10-a.conflist": "{\n\"name\": \"n\",\n}"}, "", nil, "10-a.conflist: line 3: invalid character"},
		{"broken_first", map[string]string{"10-a.conflist": "x", "20-b.conflist": list}, "", nil, "10-a.conflist: line 1"},
		{"wrong_type", map[string]string{"10-a.conflist": "{\"name\":\"n\",\n\"plugins\":[{\"type\":7}]}"}, "", nil, `10-a.conflist: line 2: field "plugins.type": a JSON number`},
		{"no_name", map[string]string{"10-a.conflist": `{"plugins":[{"type":"x"}]}`}, "", nil, `10-a.conflist: field "name"`},
		{"path_name", map[string]string{"10-a.conflist": `{"name":"../n","plugins":[{"type":"x"}]}`}, "", nil, `10-a.conflist: field "name"`},
		{"no_plugins", map[string]string{"10-a.conflist": `{"name":"n"}`}, "", nil, `10-a.conflist: field "plugins"`},
		{"no_type", map[string]string{"10-a.conflist": `{"name":"n","plugins":[{"type":"x"},{}]}`}, "", nil, `10-a.conflist: field "plugins[1].type": missing`},
		{"path_type", map[string]string{"10-a.conflist": `{"name":"n","plugins":[{"type":"../../bin/sh"}]}`}, "", nil, `field "plugins[0].type": "../../bin/sh"`},
		{"path_ipam", map[string]string{"10-a.conflist": `{"name":"n","plugins":[{"type":"x","ipam":{"type":"/x"}}]}`}, "", nil, `field "plugins[0].ipam.type"`},
		{"new_version", map[string]string{"10-a.conflist": `{"cniVersion":"9.0.0","name":"n","plugins":[{"type":"x"}]}`}, "", nil, `field "cniVersion": 9.0.0 is newer`},
		{"bad_version", map[string]string{"10-a.conflist": `{"cniVersion":"one","name":"n","plugins":[{"type":"x"}]}`}, "", nil, `field "cniVersion"`},
		{"list_named_conf", map[string]string{"10-a.conf": list}, "", nil, "must end in .conflist"},
		{"null", map[string]string{"10-a.conflist": "null"}, "", nil, `10-a.conflist: field "name"`},
		{"huge", map[string]string{"10-a.conflist": strings.Repeat(" ", maxConfBytes+1)}, "", nil, "10-a.conflist has 1048577 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c, err := loadConf(dir)
			if tt.err != "" {
				if !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("loadConf = %v, want FailedPrecondition with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.list.Name != tt.network {
				t.Errorf("network = %q, want %q", c.list.Name, tt.network)
			}
			if diff := cmp.Diff(tt.plugins, c.plugins()); diff != "" {
				t.Errorf("plugins (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDefaultConf checks the files that users get.
func TestDefaultConf(t *testing.T) {
	for _, dir := range []string{".", "ipv4"} {
		c, err := loadConf(filepath.Join("..", "deploy", "cni", dir))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"bridge", "host-local", "portmap", "firewall"}, c.plugins()); diff != "" {
			t.Errorf("%s: plugins (-want +got):\n%s", c.file, diff)
		}
		if !c.can("portMappings") {
			t.Errorf("%s maps no host ports", c.file)
		}
	}
}

func FuzzParseConf(f *testing.F) {
	f.Add(`{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}`, true)
	f.Add(`{"cniVersion":"0.4.0","name":"n","type":"ptp"}`, false)
	f.Add(`{"cniVersions":["1.0.0","1.1.0"],"name":"n","disableGC":"true","plugins":[{"type":"x","capabilities":{"a":true}}]}`, true)
	f.Add(`{"name":"n","plugins":[null]}`, true)
	f.Fuzz(func(t *testing.T, text string, isList bool) {
		file := filepath.Join(t.TempDir(), "x.conf")
		if isList {
			file += "list"
		}
		list, err := parseConf(file, []byte(text))
		if err != nil {
			return
		}
		c := &conf{file: file, list: list}
		for _, name := range c.plugins() {
			if strings.Contains(name, "/") {
				t.Errorf("plugin %q is a path", name)
			}
		}
		// What is recorded must read back the same.
		again, err := inline(list)
		if err != nil {
			t.Fatalf("inline: %v", err)
		}
		if string(again.Bytes) != string(list.Bytes) && len(again.Plugins) != len(list.Plugins) {
			t.Errorf("inlined to %s, then to %s", list.Bytes, again.Bytes)
		}
	})
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string]uint64{
		"1k": 1000, "1000": 1000, "10M": 10e6, "1.5M": 1.5e6, "1Mi": 1 << 20, "1G": 1e9, "1P": 1e15, "0.000001P": 1e9,
		"": 0, "M": 0, "1": 0, "999": 0, "-1M": 0, "1e6": 0, "2P": 0, "1E": 0, "10 M": 0, "0x10M": 0, "1KB": 0, "1K": 0,
	} {
		got, err := parseRate(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("parseRate(%q) = %d, %v, want %d", text, got, err, want)
		}
		if err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("parseRate(%q) = %v, want InvalidArgument", text, err)
		}
	}
}
