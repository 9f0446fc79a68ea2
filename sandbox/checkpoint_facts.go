package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// factsOf are digests of what a container's process was made with and keeps, by what a
// caller knows it as. A checkpoint does not tell an environment's secrets.
func (m *Manager) factsOf(ctx context.Context, p PodConfig, c ContainerConfig, img ImageConfig) (map[string]string, error) {
	spec, user, err := m.cfg.Specs.Spec(ctx, p, c, img)
	if err != nil {
		return nil, err
	}
	facts := map[string]any{"user": user, "pid namespace": c.Namespaces.PID, "terminal and stdin": []bool{c.TTY, c.Stdin}}
	if pr := spec.Process; pr != nil {
		facts["command and args"] = pr.Args
		facts["working directory"] = pr.Cwd
		// The pod's name goes in, and a restored pod may have another.
		facts["environment"] = slices.DeleteFunc(slices.Clone(pr.Env), func(e string) bool { return strings.HasPrefix(e, "HOSTNAME=") })
		facts["capabilities"] = pr.Capabilities
		facts["no new privileges"] = pr.NoNewPrivileges
	}
	if spec.Root != nil {
		facts["read-only root"] = spec.Root.Readonly
	}
	if l := spec.Linux; l != nil {
		facts["seccomp profile"] = l.Seccomp
		facts["masked and read-only paths"] = [][]string{l.MaskedPaths, l.ReadonlyPaths}
		facts["namespaces"] = l.Namespaces
		if l.Resources != nil {
			facts["devices"] = l.Resources.Devices
		}
	}
	out := make(map[string]string, len(facts))
	for name, f := range facts {
		b, err := json.Marshal(f)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", name, err)
		}
		sum := sha256.Sum256(b)
		out[name] = hex.EncodeToString(sum[:])
	}
	return out, nil
}

// compareFacts refuses a container that is not asked for as it was saved.
func compareFacts(saved, asked map[string]string) error {
	var differ []string
	for name := range maps.Keys(saved) {
		if saved[name] != asked[name] {
			differ = append(differ, name)
		}
	}
	for name := range maps.Keys(asked) {
		if _, ok := saved[name]; !ok {
			differ = append(differ, name)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	slices.Sort(differ)
	return fmt.Errorf("its %s is not what the checkpoint's was made with: %w", strings.Join(differ, ", "), errdefs.ErrFailedPrecondition)
}
