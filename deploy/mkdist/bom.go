package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	guestimage "github.com/porthole-run/porthole/guest/image"
)

// bomFile has what the release is made of, in CycloneDX 1.6 (https://cyclonedx.org).
const bomFile = "sbom.cdx.json"

// The parts of CycloneDX that are used.
type (
	document struct {
		Format      string      `json:"bomFormat"`
		SpecVersion string      `json:"specVersion"`
		Version     int         `json:"version"`
		Metadata    metadata    `json:"metadata"`
		Components  []component `json:"components"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type       string      `json:"type"`
		Ref        string      `json:"bom-ref,omitempty"`
		Name       string      `json:"name"`
		Version    string      `json:"version,omitempty"`
		PURL       string      `json:"purl,omitempty"`
		Hashes     []hash      `json:"hashes,omitempty"`
		Components []component `json:"components,omitempty"`
		Properties []property  `json:"properties,omitempty"`
	}
	hash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// bom lists the Go modules that the linker recorded in the program, and what the guest's manifest
// says is in it. It has no time and no random number: the same parts give the same text.
func bom(program, version string, guest guestimage.Manifest) ([]byte, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read what %s was built from: %w", program, err)
	}
	d := document{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{component{
			Type: "application", Ref: "porthole", Name: "porthole", Version: version,
			Properties: []property{{"go", info.GoVersion}, {"platform", setting(info, "GOOS") + "/" + setting(info, "GOARCH")}},
		}},
	}
	d.Components = append(d.Components, component{
		Type: "library", Ref: "go", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"),
		PURL: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go"),
	})
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		d.Components = append(d.Components, component{
			Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl,
			Properties: []property{{"go.sum", m.Sum}},
		})
	}
	d.Components = append(d.Components, guestComponent(guest))
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

func setting(info *debug.BuildInfo, key string) string {
	at := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == key })
	if at < 0 {
		return ""
	}
	return info.Settings[at].Value
}

// guestComponent is the guest: a small system of Debian's packages and our own programs.
func guestComponent(m guestimage.Manifest) component {
	out := component{Type: "operating-system", Ref: "guest", Name: "guest", Version: m.Kernel.Release}
	for _, p := range m.Parts {
		c := component{Type: "application", Ref: "guest/" + p.Name, Name: p.Name, Version: p.Version}
		if p.Path == "" {
			c.Type = "library"
		}
		if p.SHA256 != "" {
			c.Hashes = []hash{{"SHA-256", p.SHA256}}
		}
		name, isSource := strings.CutPrefix(p.Source, "source:")
		if pkg, version, ok := strings.Cut(name, "="); ok {
			c.PURL = "pkg:deb/debian/" + pkg + "@" + strings.ReplaceAll(version, "+", "%2B")
			if isSource {
				c.PURL += "?arch=source"
			}
		}
		if p.SourceSHA256 != "" {
			c.Properties = []property{{"source-sha256", p.SourceSHA256}}
		}
		out.Components = append(out.Components, c)
	}
	return out
}
