package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func sampleManifest() Manifest {
	return Manifest{
		Version: ManifestVersion,
		Kernel:  Kernel{Flavour: Debian, Release: "6.1.0-56-cloud-amd64", ConfigSHA256: digest("config"), Modules: 81},
		Files: []File{
			{Name: KernelFile, SHA256: digest("kernel"), Size: 6},
			{Name: InitrdFile, SHA256: digest("initrd!"), Size: 7},
		},
		Parts: []Part{
			{Name: "kernel", Version: "6.1.192-2", Source: "linux-image-6.1.0-56-cloud-amd64=6.1.192-2", SourceSHA256: digest("deb"), Pinned: true, SHA256: digest("kernel"), Size: 53243444},
			{Name: "crun", Path: "/bin/crun", Version: "1.8.1-1+deb12u1", Source: "source:crun=1.8.1-1+deb12u1", SourceSHA256: digest("dsc"), Pinned: false, SHA256: digest("crun"), Size: 1699624},
			{Name: "agent", Path: "/init", Version: "v0.1.0", Source: "porthole", Pinned: true, SHA256: digest("agent"), Size: 8000000},
		},
	}
}

// writeBundle makes a bundle folder of sampleManifest.
func writeBundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var m bytes.Buffer
	if err := WriteManifest(&m, sampleManifest()); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{KernelFile: "kernel", InitrdFile: "initrd!", ManifestFile: m.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOpen(t *testing.T) {
	dir := writeBundle(t)
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleManifest(), b.Manifest()); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	if b.Kernel() != filepath.Join(dir, "vmlinux") || b.Initrd() != filepath.Join(dir, "initrd") {
		t.Errorf("paths %s, %s are not in %s", b.Kernel(), b.Initrd(), dir)
	}
}

func TestOpen_Damaged(t *testing.T) {
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		kind   func(error) bool
		text   string
	}{
		{"no_manifest", remove(ManifestFile), errdefs.IsNotFound, "make guest"},
		{"no_kernel", remove(KernelFile), errdefs.IsNotFound, "vmlinux is missing"},
		{"no_initrd", remove(InitrdFile), errdefs.IsNotFound, "initrd is missing"},
		{"cut_kernel", write(KernelFile, "kern"), errdefs.IsFailedPrecondition, "has 4 bytes, the manifest says 6"},
		{"empty_manifest", write(ManifestFile, ""), errdefs.IsInvalidArgument, "read manifest"},
		{"older_manifest", write(ManifestFile, `{"version":0,"what":1}`), errdefs.IsFailedPrecondition, "format 0 is not known"},
		{"unknown_field", write(ManifestFile, `{"version":1,"what":1}`), errdefs.IsInvalidArgument, `"what"`},
		{"huge_manifest", write(ManifestFile, strings.Repeat(" ", maxManifest+1)), errdefs.IsInvalidArgument, "over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeBundle(t)
			tt.damage(t, dir)
			_, err := Open(dir)
			if !tt.kind(err) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Open = %v, which is the wrong kind or lacks %q", err, tt.text)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	dir := writeBundle(t)
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Verify(ctx); err == nil || ctx.Err() == nil {
		t.Error("Verify went on after its context had ended")
	}
	if err := os.WriteFile(b.Kernel(), []byte("KERNEL"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(t.Context()); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "digest") {
		t.Errorf("Verify = %v, want FailedPrecondition for the digest", err)
	}
}

func TestValidate_NamesAllFaults(t *testing.T) {
	m := sampleManifest()
	m.Kernel.Flavour = "big"
	m.Kernel.ConfigSHA256 = "abc"
	m.Files = append(m.Files[:1], File{Name: "../etc/passwd"})
	m.Parts[1].Path = "bin/crun"
	m.Parts[2].Version = ""
	err := m.Validate()
	if !errdefs.IsInvalidArgument(err) {
		t.Fatalf("Validate = %v, want InvalidArgument", err)
	}
	for _, want := range []string{`"big"`, "config_sha256", `"../etc/passwd"`, `"initrd" is missing`, `"crun"`, `"agent"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Validate does not name %s:\n%v", want, err)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestBundle_String(t *testing.T) {
	b := &Bundle{dir: "/srv/guest", manifest: sampleManifest()}
	golden(t, "info.golden", b.String())
}

func TestWriteManifest(t *testing.T) {
	var b bytes.Buffer
	if err := WriteManifest(&b, sampleManifest()); err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest.golden", b.String())
}

func TestKernelArgs(t *testing.T) {
	for f, want := range map[Flavour]string{
		Debian: "quiet panic=-1 reboot=t oops=panic random.trust_cpu=on psi=1 cryptomgr.notests lsm= audit=0 initcall_blacklist=crypto_kdf108_init",
		Small:  "quiet panic=-1 reboot=t oops=panic random.trust_cpu=on psi=1",
	} {
		if got := strings.Join(KernelArgs(f), " "); got != want {
			t.Errorf("KernelArgs(%s) = %s, want %s", f, got, want)
		}
	}
	if got := strings.Join(MicroVMArgs(2596130), " "); got != "tsc_early_khz=2596130" {
		t.Errorf("MicroVMArgs = %s", got)
	}
	if got := MicroVMArgs(0); got != nil {
		t.Errorf("MicroVMArgs(0) = %v, want none", got)
	}
}

func FuzzReadManifest(f *testing.F) {
	good, _ := json.Marshal(sampleManifest())
	f.Add(good)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ReadManifest(bytes.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteManifest(&b, m); err != nil {
			t.Fatalf("WriteManifest of a manifest that was read: %v", err)
		}
		_ = (&Bundle{manifest: m}).String()
	})
}
