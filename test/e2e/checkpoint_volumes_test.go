package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// shareScript has a file of a volume open, one that it will find in no other folder, and a
// file that it has read.
const shareScript = `cat /vol/config /one; exec 4>>/vol/log 5</vol/gone; cd /vol/sub; i=0
while :; do i=$((i+1)); echo "line $i $(cat inner) $(cat <&5 2>/dev/null || echo lost)" >&4; sleep 0.1; done`

// TestCheckpoint_Volumes restores a pod whose host folders are others then: files are found
// by their paths, and what the guest had cached of the old ones is forgotten.
func TestCheckpoint_Volumes(t *testing.T) {
	s := ownServer(t, serverConfig{})
	old, files := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{"config": "first", "gone": "away", "log": "", "sub/inner": "old inner"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(old, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(old, name), text)
	}
	write(t, filepath.Join(files, "one"), "one file")
	mounts := func(folder, one string) []*cri.Mount {
		return []*cri.Mount{bind("/vol", folder), {ContainerPath: "/one", HostPath: one, Readonly: true}, toolMount(t)}
	}
	p := runPod(t, s)
	c := sh("user", shareScript)
	c.Mounts = mounts(old, filepath.Join(files, "one"))
	k := p.start(c)
	eventually(t, "the container writes", func() bool { return strings.Contains(read(t, filepath.Join(old, "log")), "line 3 old inner") })
	dir := p.checkpoint(k)
	before := read(t, filepath.Join(old, "log"))
	eventually(t, "the container goes on", func() bool { return len(read(t, filepath.Join(old, "log"))) > len(before)+8 })
	p.remove()
	was := read(t, filepath.Join(old, "log"))

	// The new pod's folder: a file is gone, one is another, and the log is cut short.
	now := t.TempDir()
	if err := os.Mkdir(filepath.Join(now, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(now, "config"), "second")
	write(t, filepath.Join(now, "log"), "log of the new pod\n")
	write(t, filepath.Join(now, "sub", "inner"), "new inner")
	write(t, filepath.Join(files, "two"), "another file")

	other := sh("user", shareScript)
	other.Mounts = mounts(now, filepath.Join(files, "two"))
	other.Mounts[0].Readonly = true
	_, err := s.RestorePod(testContext(t), &cri.RestorePodRequest{CheckpointPath: dir, Config: podConfig(t), ContainerConfigs: []*cri.ContainerConfig{other}})
	wantCode(t, "another way to mount", err, codes.FailedPrecondition, "/vol")

	other.Mounts[0].Readonly = false
	_, ks := restorePod(t, s, dir, nil, other)
	again := ks[0]
	again.start()
	log := func() string { return read(t, filepath.Join(now, "log")) }
	eventually(t, "the restored container writes to the new folder", func() bool { return strings.Count(log(), "line ") > 3 })
	if !strings.HasPrefix(log(), "log of the new pod\nline ") {
		t.Errorf("log in the new folder: %q", log())
	}
	equal(t, "files that have changed", again.exec("cat /vol/config /one; cd /vol/sub && cat inner"), "secondanother filenew inner")
	// What the first line says may have been read before.
	if last := log(); strings.Count(last, "old inner") > 1 || !strings.Contains(last, "new inner lost\n") {
		t.Errorf("log %q, want what is in the working folder now, and that the open file is lost", last)
	}
	again.exec("echo made > /vol/made")
	equal(t, "a new file", read(t, filepath.Join(now, "made")), "made\n")
	equal(t, "the old folder", read(t, filepath.Join(old, "log")), was)
	write(t, filepath.Join(now, "config"), "third")
	eventually(t, "a change on the host is seen", func() bool { return again.exec("cat /vol/config") == "third" })
}
