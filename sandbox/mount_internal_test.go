package sandbox

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestPrivateHostPath(t *testing.T) {
	const uid, root = "11-22", "/var/lib/kubelet/pods/11-22/"
	for _, tt := range []struct {
		path     string
		readOnly bool
		want     bool
	}{
		{root + "volumes/kubernetes.io~empty-dir/cache", false, true},
		{root + "volumes/kubernetes.io~empty-dir/cache/sub/folder", false, true},
		{"/mnt/other/root/pods/11-22/volumes/kubernetes.io~empty-dir/cache", false, true},
		{root + "volumes/kubernetes.io~configmap/conf", true, true},
		{root + "volumes/kubernetes.io~projected/kube-api-access", true, true},
		{root + "volumes/kubernetes.io~secret/s", true, true},
		{root + "volumes/kubernetes.io~downward-api/d", true, true},
		{root + "etc-hosts", false, true},
		{root + "containers/app/0a1b2c3d", false, true},

		{root + "volumes/kubernetes.io~configmap/conf", false, false},
		{root + "volumes/kubernetes.io~empty-dir", false, false},
		{root + "volumes/kubernetes.io~csi/pvc-1/mount", false, false},
		{root + "volumes/kubernetes.io~nfs/n", true, false},
		{root + "volumes/kubernetes.io~local-volume/v", false, false},
		{root + "volume-subpaths/pvc/app/0", false, false},
		{root + "volumes", false, false},
		{root + "etc-hosts/x", false, false},
		{root + "containers/app", false, false},
		{"/var/lib/kubelet/pods/11-22", false, false},
		{"/var/lib/kubelet/pods/33-44/volumes/kubernetes.io~empty-dir/cache", false, false},
		{"/var/lib/kubelet/pods/33-44/volumes/kubernetes.io~empty-dir/11-22", false, false},
		{"/data/11-22/volumes/kubernetes.io~empty-dir/cache", false, false},
		{"/srv/data", false, false},
		{"/", true, false},
	} {
		if got := privateHostPath(tt.path, uid, tt.readOnly); got != tt.want {
			t.Errorf("privateHostPath(%s, %v) = %v, want %v", tt.path, tt.readOnly, got, tt.want)
		}
	}
	if privateHostPath("/var/lib/kubelet/pods//volumes/kubernetes.io~empty-dir/c", "", false) {
		t.Error("a pod without a uid has a private folder")
	}
}

func TestParseDiskMounts(t *testing.T) {
	pod := map[string]string{AnnotationDisks: " /db/ ,/data,", AnnotationScratchDisks: "/cache=10Gi, /tmp/work = 512M"}
	container := map[string]string{AnnotationScratchDisks: "/cache=1Gi"}
	got, err := parseDiskMounts(pod, container)
	want := map[string]diskMount{
		"/db": {disk: true}, "/data": {disk: true},
		"/cache": {scratchBytes: 1 << 30}, "/tmp/work": {scratchBytes: 512e6},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(diskMount{})); diff != "" || err != nil {
		t.Errorf("parseDiskMounts: %v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []map[string]string{
		{AnnotationDisks: "data"}, {AnnotationScratchDisks: "/cache"}, {AnnotationScratchDisks: "cache=1Gi"},
		{AnnotationScratchDisks: "/c=1Mi"}, {AnnotationScratchDisks: "/c=1.5Gi"}, {AnnotationScratchDisks: "/c=+1Gi"},
		{AnnotationScratchDisks: "/c=-1Gi"}, {AnnotationScratchDisks: "/c=1Xi"}, {AnnotationScratchDisks: "/c=Gi"},
		{AnnotationScratchDisks: "/c=9999999999Ti"}, {AnnotationScratchDisks: "/c=1GiGi"},
		{AnnotationDisks: "/c", AnnotationScratchDisks: "/c=1Gi"},
	} {
		if got, err := parseDiskMounts(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("parseDiskMounts(%v) = %v, %v; want InvalidArgument", bad, got, err)
		}
	}
}

func TestPlanMounts(t *testing.T) {
	dir := realDir(t)
	file, link, missing := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "made", "here")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Symlink(dir, link))
	p := PodConfig{UID: "u", Annotations: map[string]string{AnnotationDisks: "/disk,/nobody", AnnotationScratchDisks: "/scratch=1Gi"}}
	plan, index, err := planMounts(p, ContainerConfig{Mounts: []Mount{
		{ContainerPath: "/a/b/", HostPath: file, ReadOnly: true},
		{ContainerPath: "/z", HostPath: link, Propagation: PropagateHostToContainer},
		{ContainerPath: "/disk", HostPath: file},
		{ContainerPath: "/scratch", HostPath: dir},
		{ContainerPath: "/new", HostPath: missing},
		{ContainerPath: "/a", Image: &MountImage{Ref: "i"}},
	}})
	must(t, err)
	want := []MountSetup{
		{ContainerPath: "/z", Folder: &FolderSource{Path: dir, HostToContainer: true}},
		{ContainerPath: "/disk", Disk: &DiskSource{Path: file}},
		{ContainerPath: "/scratch", Disk: &DiskSource{Path: dir, ScratchBytes: 1 << 30}},
		{ContainerPath: "/new", Folder: &FolderSource{Path: missing}},
		{ContainerPath: "/a"},
		{ContainerPath: "/a/b", ReadOnly: true, Folder: &FolderSource{Path: file}},
	}
	if diff := cmp.Diff(want, plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 4, 5, 0}, index); diff != "" {
		t.Errorf("index (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(missing); err != nil || !info.IsDir() {
		t.Errorf("missing host path was not made: %v", err)
	}
}

func TestPlanMounts_Refused(t *testing.T) {
	dir := realDir(t)
	file, socket, dangling := filepath.Join(dir, "file"), filepath.Join(dir, "s"), filepath.Join(dir, "dangling")
	must(t, os.WriteFile(file, nil, 0o600))
	l, err := net.Listen("unix", socket)
	must(t, err)
	defer l.Close()
	must(t, os.Symlink("nowhere", dangling))
	p := PodConfig{Annotations: map[string]string{AnnotationDisks: "/disk", AnnotationScratchDisks: "/scratch=1Gi"}}
	for _, tt := range []struct {
		name, says string
		m          Mount
		is         func(error) bool
	}{
		{"relative", "not absolute", Mount{ContainerPath: "/a", HostPath: "x"}, errdefs.IsInvalidArgument},
		{"socket", "a socket", Mount{ContainerPath: "/a", HostPath: socket}, errdefs.IsInvalidArgument},
		{"device", "a device", Mount{ContainerPath: "/a", HostPath: os.DevNull}, errdefs.IsInvalidArgument},
		{"below_a_file", "not a directory", Mount{ContainerPath: "/a", HostPath: filepath.Join(file, "x")}, errdefs.IsFailedPrecondition},
		{"dangling", dangling, Mount{ContainerPath: "/a", HostPath: dangling}, errdefs.IsFailedPrecondition},
		{"file_propagation", "private propagation", Mount{ContainerPath: "/a", HostPath: file, Propagation: PropagateHostToContainer}, errdefs.IsInvalidArgument},
		{"disk_propagation", "private propagation", Mount{ContainerPath: "/disk", HostPath: file, Propagation: PropagateHostToContainer}, errdefs.IsInvalidArgument},
		{"disk_folder", "not a regular file", Mount{ContainerPath: "/disk", HostPath: dir}, errdefs.IsInvalidArgument},
		{"scratch_file", "not a folder", Mount{ContainerPath: "/scratch", HostPath: file}, errdefs.IsInvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := planMounts(p, ContainerConfig{Mounts: []Mount{tt.m}})
			if err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.m.ContainerPath) {
				t.Errorf("planMounts = %v, want one of another kind, saying %q", err, tt.says)
			}
		})
	}
}

// realDir is a new folder by a path without links.
func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
