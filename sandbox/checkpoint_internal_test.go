package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/containerd/errdefs"
)

// seal makes a manifest of a checkpoint's text.
func seal(body string) []byte {
	sum := sha256.Sum256([]byte(body))
	b, _ := json.Marshal(manifest{Version: checkpointVersion, SHA256: hex.EncodeToString(sum[:]), Checkpoint: json.RawMessage(body)})
	return b
}

// goodCheckpoint is the least that is one.
const goodCheckpoint = `{"containers":[{"name":"c","id":"1"}],"files":{"vm.vmrs":{},"scratch.sparse":{},"share-3.json":{}},` +
	`"saved":{"vcpus":1,"memoryMiB":256,"containers":[{"id":"1"}],"shares":[{"id":3,"table":"share-3.json"}]}}`

func TestDecodeCheckpoint(t *testing.T) {
	if _, err := decodeCheckpoint(seal(goodCheckpoint)); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"no_containers":    `{"files":{"vm.vmrs":{},"scratch.sparse":{}},"saved":{"vcpus":1,"memoryMiB":256}}`,
		"other_containers": `{"containers":[{"name":"c","id":"2"}],"files":{"vm.vmrs":{},"scratch.sparse":{}},"saved":{"vcpus":1,"memoryMiB":256,"containers":[{"id":"1"}]}}`,
		"no_state":         `{"containers":[{"name":"c","id":"1"}],"files":{"scratch.sparse":{}},"saved":{"vcpus":1,"memoryMiB":256,"containers":[{"id":"1"}]}}`,
		"size":             `{"containers":[{"name":"c","id":"1"}],"files":{"vm.vmrs":{},"scratch.sparse":{}},"saved":{"vcpus":0,"memoryMiB":256,"containers":[{"id":"1"}]}}`,
		"path": `{"containers":[{"name":"c","id":"1"}],"files":{"vm.vmrs":{},"scratch.sparse":{},"../x":{}},` +
			`"saved":{"vcpus":1,"memoryMiB":256,"containers":[{"id":"1"}],"shares":[{"id":3,"table":"../x"}]}}`,
		"unknown_field": `{"later":1}`,
	} {
		if _, err := decodeCheckpoint(seal(body)); !errdefs.IsDataLoss(err) {
			t.Errorf("%s: decodeCheckpoint() = %v, want DataLoss", name, err)
		}
	}
}

// FuzzDecodeCheckpoint: whatever a manifest holds it is refused, or has what later steps
// look for.
func FuzzDecodeCheckpoint(f *testing.F) {
	f.Add([]byte(goodCheckpoint), true)
	f.Add(seal(goodCheckpoint), false)
	f.Add([]byte(`{"version":1}`), false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed {
			if !json.Valid(b) {
				return
			}
			b = seal(string(b))
		}
		c, err := decodeCheckpoint(b)
		if err != nil {
			return
		}
		r := RestoreConfig{}
		for _, ct := range c.Containers {
			_ = c.savedContainer(ct.ID)
			r.Containers = append(r.Containers, ContainerConfig{Name: ct.Name})
		}
		if c.fits(r, Handler{VCPUs: 1, MemoryMiB: 64}) == nil {
			for _, cc := range r.Containers {
				_ = c.container(cc.Name)
			}
		}
	})
}
