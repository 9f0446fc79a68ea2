package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPlanMounts_FSGroup: volumes of the pod are the group's, nothing else is.
func TestPlanMounts_FSGroup(t *testing.T) {
	root := t.TempDir()
	const uid = "6b1f"
	for path, want := range map[string]uint32{
		"pods/6b1f/volumes/kubernetes.io~empty-dir/data":   2000,
		"pods/6b1f/volumes/kubernetes.io~csi/disk/mount":   2000,
		"pods/6b1f/volume-subpaths/disk/web/0":             2000,
		"pods/6b1f/containers/web/12ab":                    0,
		"pods/other/volumes/kubernetes.io~empty-dir/data":  0,
		"srv/volumes/kubernetes.io~empty-dir/data":         0,
		"pods/6b1f/plugins/kubernetes.io~empty-dir/wrap/x": 0,
	} {
		dir := filepath.Join(root, filepath.FromSlash(path))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		p := PodConfig{UID: uid, FSGroup: 2000}
		plan, _, err := planMounts(p, ContainerConfig{Mounts: []Mount{{ContainerPath: "/data", HostPath: dir}}})
		if err != nil || plan[0].Folder.FSGroup != want {
			t.Errorf("%s: group %+v, %v, want %d", path, plan, err, want)
		}
	}
}
