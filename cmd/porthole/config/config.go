package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// DefaultPath is where the daemon looks when no path is given.
func DefaultPath() string { return host.path }

// Version is the version of the format that this build reads.
const Version = 1

//go:embed default.toml
var defaultText string

// DefaultText is the commented default configuration.
func DefaultText() string { return host.text() }

// Config is the daemon's configuration; default.toml says what each key means.
type Config struct {
	Version   int64              `toml:"version" json:"version"`
	Root      string             `toml:"root" json:"root"`
	State     string             `toml:"state" json:"state"`
	Log       Log                `toml:"log" json:"log"`
	GRPC      GRPC               `toml:"grpc" json:"grpc"`
	Streaming Streaming          `toml:"streaming" json:"streaming"`
	Metrics   Metrics            `toml:"metrics" json:"metrics"`
	Tracing   Tracing            `toml:"tracing" json:"tracing"`
	Images    Images             `toml:"images" json:"images"`
	Network   Network            `toml:"network" json:"network"`
	VM        VM                 `toml:"vm" json:"vm"`
	Handlers  map[string]Handler `toml:"handlers" json:"handlers"`
	Kubelet   WindowsKubelet     `toml:"windows_kubelet" json:"windows_kubelet"`
	Upstream  Upstream           `toml:"upstream" json:"upstream"`
}

// Log is [log].
type Log struct {
	Level    Level  `toml:"level" json:"level"`
	Format   string `toml:"format" json:"format"`
	File     string `toml:"file" json:"file"`
	MaxSize  Size   `toml:"max_size" json:"max_size"`
	MaxFiles int64  `toml:"max_files" json:"max_files"`
}

// GRPC is [grpc].
type GRPC struct {
	Socket string `toml:"socket" json:"socket"`
	GID    int64  `toml:"gid" json:"gid"`
	Mode   Mode   `toml:"mode" json:"mode"`

	SecurityDescriptor string `toml:"security_descriptor" json:"security_descriptor"`

	CertFile     string `toml:"cert_file" json:"cert_file"`
	KeyFile      string `toml:"key_file" json:"key_file"`
	ClientCAFile string `toml:"client_ca_file" json:"client_ca_file"`
	InsecureTCP  bool   `toml:"insecure_tcp" json:"insecure_tcp"`
}

// Endpoint is where the CRI is served. The configuration was checked.
func (g GRPC) Endpoint() Endpoint {
	e, err := ParseEndpoint(g.Socket)
	if err != nil {
		panic(fmt.Sprintf("grpc.socket was not checked: %v", err))
	}
	return e
}

// Streaming is [streaming].
type Streaming struct {
	Address     string   `toml:"address" json:"address"`
	CertFile    string   `toml:"cert_file" json:"cert_file"`
	KeyFile     string   `toml:"key_file" json:"key_file"`
	IdleTimeout Duration `toml:"idle_timeout" json:"idle_timeout"`
}

// Metrics is [metrics].
type Metrics struct {
	Address string `toml:"address" json:"address"`
}

// Tracing is [tracing].
type Tracing struct {
	Endpoint string `toml:"endpoint" json:"endpoint"`
	CAFile   string `toml:"ca_file" json:"ca_file"`
}

// Images is [images].
type Images struct {
	RegistryConfigDir string   `toml:"registry_config_dir" json:"registry_config_dir"`
	DockerConfig      string   `toml:"docker_config" json:"docker_config"`
	Pinned            []string `toml:"pinned" json:"pinned"`
	MaxDownloads      int64    `toml:"max_downloads" json:"max_downloads"`
	MaxConversions    int64    `toml:"max_conversions" json:"max_conversions"`
	StallTimeout      Duration `toml:"stall_timeout" json:"stall_timeout"`
	MaxLayerSize      Size     `toml:"max_layer_size" json:"max_layer_size"`
	DiscardBlobs      bool     `toml:"discard_blobs" json:"discard_blobs"`
}

// Network is [network].
type Network struct {
	ConfDir    string   `toml:"conf_dir" json:"conf_dir"`
	PluginDirs []string `toml:"plugin_dirs" json:"plugin_dirs"`
}

// WindowsKubelet is [windows_kubelet].
type WindowsKubelet struct {
	Dialect        string            `toml:"dialect" json:"dialect"`
	PodsAPI        string            `toml:"pods_api" json:"pods_api"`
	PodsAPITimeout Duration          `toml:"pods_api_timeout" json:"pods_api_timeout"`
	WithoutSpec    string            `toml:"without_spec" json:"without_spec"`
	HostNetwork    string            `toml:"host_network" json:"host_network"`
	SeccompDefault bool              `toml:"seccomp_default" json:"seccomp_default"`
	SeccompRoot    string            `toml:"seccomp_root" json:"seccomp_root"`
	SystemDrive    string            `toml:"system_drive" json:"system_drive"`
	Processors     int64             `toml:"processors" json:"processors"`
	Drives         map[string]string `toml:"drives" json:"drives"`
}

// Upstream is [upstream].
type Upstream struct {
	Endpoint string   `toml:"endpoint" json:"endpoint"`
	Default  string   `toml:"default" json:"default"`
	Timeout  Duration `toml:"timeout" json:"timeout"`
}

// Handler is [handlers.NAME]; nil: as in [vm].
type Handler struct {
	VCPUs     *int64 `toml:"vcpus" json:"vcpus,omitempty"`
	Memory    *Size  `toml:"memory" json:"memory,omitempty"`
	Overhead  *Size  `toml:"overhead" json:"overhead,omitempty"`
	MaxVCPUs  *int64 `toml:"max_vcpus" json:"max_vcpus,omitempty"`
	MaxMemory *Size  `toml:"max_memory" json:"max_memory,omitempty"`
	Scratch   *Size  `toml:"scratch" json:"scratch,omitempty"`
	Shm       *Size  `toml:"shm" json:"shm,omitempty"`

	Enabled *bool `toml:"enabled" json:"enabled,omitempty"` // nil: it is
	// What follows is not of [vm]: whether pods share VMs, and how.
	ShareBy    *string `toml:"share_by" json:"share_by,omitempty"`
	Pods       *int64  `toml:"pods" json:"pods,omitempty"`
	Privileged *bool   `toml:"privileged" json:"privileged,omitempty"`

	HostNamespaces *string `toml:"host_namespaces" json:"host_namespaces,omitempty"`
}

// Handlers that are there unless the configuration disables them.
const (
	OwnVM    = "linux"        // a VM for each pod, as without a handler
	SharedVM = "linux-shared" // pods share VMs
)

// Exists tells whether pods may name the handler.
func (h Handler) Exists() bool { return h.Enabled == nil || *h.Enabled }

// Sharing is how a handler's pods share VMs.
type Sharing struct {
	Annotation string // of pods; empty: their namespace counts
	Pods       int64  // in a VM, at most
	Privileged bool   // privileged pods may be among them
}

// DefaultSharedPods is how many pods a shared VM holds unless a handler says otherwise:
// what Hyper-V has NICs for.
const DefaultSharedPods = 8

// byAnnotation is what share_by begins with when it names an annotation.
const byAnnotation = "annotation:"

// Sharing tells how pods of the handler share VMs; false: each has one to itself.
func (h Handler) Sharing() (Sharing, bool) {
	if h.ShareBy == nil || *h.ShareBy == "" {
		return Sharing{}, false
	}
	s := Sharing{Pods: DefaultSharedPods}
	s.Annotation, _ = strings.CutPrefix(*h.ShareBy, byAnnotation)
	if *h.ShareBy == "namespace" {
		s.Annotation = ""
	}
	set(&s.Pods, h.Pods)
	set(&s.Privileged, h.Privileged)
	return s, true
}

// Over returns vm with what h sets.
func (h Handler) Over(vm VM) VM {
	if _, shares := h.Sharing(); shares {
		vm.MaxVCPUs, vm.MaxMemory = 0, 0 // for VMs that grow
	}
	set(&vm.VCPUs, h.VCPUs)
	set(&vm.Memory, h.Memory)
	set(&vm.Overhead, h.Overhead)
	set(&vm.MaxVCPUs, h.MaxVCPUs)
	set(&vm.MaxMemory, h.MaxMemory)
	set(&vm.Scratch, h.Scratch)
	set(&vm.Shm, h.Shm)
	set(&vm.HostNamespaces, h.HostNamespaces)
	return vm
}

// sets tells whether h has a key of its own for a size.
func (h Handler) sets(key string) bool {
	return map[string]bool{
		"vcpus": h.VCPUs != nil, "memory": h.Memory != nil, "overhead": h.Overhead != nil,
		"max_vcpus": h.MaxVCPUs != nil, "max_memory": h.MaxMemory != nil,
		"scratch": h.Scratch != nil, "shm": h.Shm != nil,
	}[key]
}

func set[T any](dst *T, v *T) {
	if v != nil {
		*dst = *v
	}
}

// Default returns the built-in configuration.
func Default() Config {
	c := defaults()
	c.Handlers = maps.Clone(c.Handlers)
	return c
}

var defaults = sync.OnceValue(func() Config {
	c, err := host.defaults()
	if err != nil {
		panic(fmt.Sprintf("default.toml: %v", err)) // a test reads it too
	}
	return c
})

func (p platform) defaults() (Config, error) { return p.parse([]byte(p.text()), Config{}) }

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// Load reads the file at path over the defaults. An empty path means DefaultPath, and
// that this file need not exist. All problems in the file are in one *Error.
func Load(path string) (Config, error) {
	optional := path == ""
	if optional {
		path = host.path
	}
	st, err := os.Stat(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Default().placed()
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if st.Size() > maxFile {
		return Config{}, fmt.Errorf("read configuration: %s is longer than %d bytes", path, maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(text)
	var problems *Error
	if errors.As(err, &problems) {
		problems.Path = path
	}
	if err != nil {
		return Config{}, err
	}
	return c.placed()
}

// placed returns c with what goes by where the program is.
func (c Config) placed() (Config, error) {
	var err error
	if c.VM.Bundle == "" {
		c.VM.Bundle, err = besideProgram(bundleFolder)
	}
	return c, err
}

// bundleFolder is the guest bundle's in a release, where the program is too.
const bundleFolder = "guest"

func besideProgram(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return filepath.Join(filepath.Dir(self), name), nil
}

// Parse reads text over the defaults; errors are *Error.
func Parse(text []byte) (Config, error) { return host.parse(text, Default()) }

func (p platform) parse(text []byte, base Config) (Config, error) {
	d, err := decode(text, &base)
	if err != nil {
		return Config{}, err
	}
	d.platform = p
	base.check(d)
	if err := d.err(); err != nil {
		return Config{}, err
	}
	return base, nil
}

// Level is how much is logged, by name.
type Level slog.Level

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(b []byte) error {
	for _, v := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(string(b), v.String()) {
			*l = Level(v)
			return nil
		}
	}
	return fmt.Errorf("%q is not one of debug, info, warn, error", b)
}

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) {
	return []byte(strings.ToLower(slog.Level(l).String())), nil
}

// Duration is a time.Duration written as 1m30s.
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Mode is the permission bits of a file, written in octal.
type Mode fs.FileMode

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(b []byte) error {
	var v uint32
	if _, err := fmt.Sscanf(string(b)+"\n", "%o\n", &v); err != nil || v > 0o777 {
		return fmt.Errorf("%q is not a mode such as 0660", b)
	}
	*m = Mode(v)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", m), nil }
