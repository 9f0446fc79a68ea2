package network

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/utils"
	"github.com/containernetworking/cni/pkg/version"
)

// maxConfBytes bounds a configuration file.
const maxConfBytes = 1 << 20

// conf is a network configuration.
type conf struct {
	file string
	list *libcni.NetworkConfigList // with all plugins inlined
}

// confShape is the part of a configuration that is checked before libcni reads it, for
// errors that say where.
type confShape struct {
	CNIVersion string        `json:"cniVersion"`
	Name       string        `json:"name"`
	Plugins    []pluginShape `json:"plugins"`
}

type pluginShape struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
	IPAM         struct {
		Type string `json:"type"`
	} `json:"ipam"`
}

// loadConf reads the first file in the folder, by name, as the kubelet's other runtimes do.
func loadConf(dir string) (*conf, error) {
	files, err := libcni.ConfFiles(dir, []string{".conflist", ".conf", ".json"})
	if err != nil {
		return nil, fmt.Errorf("read network configuration: %w", err)
	}
	if len(files) == 0 { // ConfFiles sorts by name
		return nil, fmt.Errorf("no network configuration in %s: put a CNI .conflist there, such as deploy/cni/10-porthole.conflist: %w", dir, errdefs.ErrFailedPrecondition)
	}
	file := files[0]
	data, err := readConf(file)
	if err != nil {
		return nil, fmt.Errorf("read network configuration: %w", err)
	}
	list, err := parseConf(file, data)
	if err != nil {
		return nil, fmt.Errorf("network configuration %s: %w: %w", file, err, errdefs.ErrFailedPrecondition)
	}
	return &conf{file: file, list: list}, nil
}

func readConf(file string) ([]byte, error) {
	fi, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxConfBytes {
		return nil, fmt.Errorf("%s has %d bytes, more than %d: %w", file, fi.Size(), maxConfBytes, errdefs.ErrFailedPrecondition)
	}
	return os.ReadFile(file)
}

// parseConf reads a list (.conflist) or a single plugin (.conf, .json). A list may have
// more plugins in a folder of its name next to file.
func parseConf(file string, data []byte) (*libcni.NetworkConfigList, error) {
	single := filepath.Ext(file) != ".conflist"
	var shape confShape
	if err := decode(data, &shape); err != nil {
		return nil, err
	}
	if single {
		if shape.Plugins != nil {
			return nil, errors.New(`field "plugins": this is a list, so the file's name must end in .conflist`)
		}
		var p pluginShape
		if err := decode(data, &p); err != nil {
			return nil, err
		}
		shape.Plugins = []pluginShape{p}
	}
	if err := shape.validate(); err != nil {
		return nil, err
	}
	if single {
		//lint:ignore SA1019 nodes have single-plugin files, and the kubelet's users expect them to work
		p, err := libcni.ConfFromBytes(data)
		if err != nil {
			return nil, err
		}
		//lint:ignore SA1019 as above
		return libcni.ConfListFromConf(p)
	}
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return nil, err
	}
	if !list.LoadOnlyInlinedPlugins {
		more, err := libcni.NetworkPluginConfsFromFiles(filepath.Dir(file), list.Name)
		if err != nil {
			return nil, err
		}
		list.Plugins = append(list.Plugins, more...)
	}
	if len(list.Plugins) == 0 {
		return nil, errors.New(`field "plugins": no plugin`)
	}
	return inline(list)
}

func (s *confShape) validate() error {
	if err := utils.ValidateNetworkName(s.Name); err != nil {
		return fmt.Errorf("field \"name\": %w", err)
	}
	newer, err := version.GreaterThan(s.CNIVersion, version.Current())
	if err != nil {
		return fmt.Errorf("field \"cniVersion\": %w", err)
	}
	if newer {
		return fmt.Errorf("field \"cniVersion\": %s is newer than %s", s.CNIVersion, version.Current())
	}
	for i, p := range s.Plugins {
		for field, name := range map[string]string{"type": p.Type, "ipam.type": p.IPAM.Type} {
			if name == "" && field == "type" {
				return fmt.Errorf("field \"plugins[%d].type\": missing", i)
			}
			if strings.ContainsAny(name, `/\`) {
				return fmt.Errorf("field \"plugins[%d].%s\": %q is no plain name", i, field, name)
			}
		}
	}
	return nil
}

// decode is json.Unmarshal with errors that tell the line.
func decode(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if syn, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("line %d: %w", line(data, syn.Offset), err)
	}
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("line %d: field %q: a JSON %s is not what belongs here", line(data, typ.Offset), typ.Field, typ.Value)
	}
	return err
}

func line(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(max(int(offset)-1, 0), len(data))], []byte{'\n'})
}

// inline makes a list whose bytes hold all of its plugins, so that the bytes alone are
// enough to detach.
func inline(list *libcni.NetworkConfigList) (*libcni.NetworkConfigList, error) {
	plugins := make([]json.RawMessage, len(list.Plugins))
	for i, p := range list.Plugins {
		plugins[i] = p.Bytes
	}
	data, err := json.Marshal(map[string]any{
		"cniVersion":             list.CNIVersion,
		"name":                   list.Name,
		"disableCheck":           list.DisableCheck,
		"disableGC":              list.DisableGC,
		"loadOnlyInlinedPlugins": true,
		"plugins":                plugins,
	})
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(data)
}

// plugins returns the programs that the configuration needs, each once.
func (c *conf) plugins() []string {
	var names []string
	seen := make(map[string]bool)
	for _, p := range c.list.Plugins {
		for _, name := range []string{p.Network.Type, p.Network.IPAM.Type} {
			if name != "" && !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// can tells whether a plugin of the configuration takes a capability's argument.
func (c *conf) can(capability string) bool {
	for _, p := range c.list.Plugins {
		if p.Network.Capabilities[capability] {
			return true
		}
	}
	return false
}
