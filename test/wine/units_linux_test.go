package wine

import (
	"context"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// units are the packages whose unit tests run under Wine, and which of them: those that
// match run, without those in skip, which has the reasons.
var units = map[string]struct {
	run  string            // pattern; empty: all
	skip map[string]string // reason by test
}{
	"cmd/porthole":         {run: "TestListenTCP|TestListenCRI|TestLock|TestConfigDefault|TestExitCodes$|TestOpenLog|TestLifeCycle|TestWatchNetworks|TestWithStreams"},
	"cmd/porthole/writers": {},
	"cri/endpoint":         {},
	// Not what has time limits of some hundred milliseconds, which are for Linux' speed.
	"image":               {run: "TestImport|TestExport|TestPull$|TestPullSharesWork|TestPullResumes|TestTagMoves|TestRemove|TestHold|TestPrepare|TestDiscard|TestFsInfo|TestOpen|TestEveryStepFails"},
	"internal/appendfile": {},
	"internal/atomicfile": {},
	"internal/busyfile":   {},
	"internal/etw":        {},
	"internal/filelock":   {},
	"internal/filesum":    {},
	"internal/hcs":        {skip: map[string]string{"TestLibrary_Stub": "wants a library, see below"}},
	"internal/offspring":  {},
	"internal/localsock":  {skip: map[string]string{"TestListen_Twice": wineHas + "no pipes that one process alone may make"}},
	"internal/privatedir": {skip: map[string]string{"TestMake_IsPrivate": wineHas + "modes of the host in place of access lists"}},
	"internal/rotatelog":  {},
	"internal/winowner":   {},
	"internal/winsvc":     {skip: map[string]string{"TestAsService": "is run by TestService"}},
	"network/hcnnet":      {},
	// What is about records and folders: the rest says nothing of the system.
	"sandbox":          {run: "TestRecover|TestCrashAtEachStep|TestRecordRoundTrip|TestFullDisk|TestPodLife"},
	"sandbox/shim":     {run: "TestStartTime|TestOpenLog|TestOpenScratch_VHD|TestDiskFormat"},
	"share/arbiter":    {},
	"streaming/crilog": {skip: map[string]string{"TestOpen_AppendsWithMode": "files have no modes"}},
}

const wineHas = "Wine has "

// TestUnits runs the unit tests of the code that calls Windows.
func TestUnits(t *testing.T) {
	m := newMachine(t)
	defer m.hold("wait", ".")()
	for _, pkg := range slices.Sorted(maps.Keys(units)) {
		u := units[pkg]
		t.Run(strings.ReplaceAll(pkg, "/", "_"), func(t *testing.T) {
			args := []string{"-test.v", "-test.timeout=3m", "-test.run=" + u.run}
			if len(u.skip) > 0 {
				var skip []string
				for test := range u.skip {
					skip = append(skip, "^"+strings.ReplaceAll(test, "/", "$/^")+"$")
				}
				args = append(args, "-test.skip="+strings.Join(skip, "|"))
			}
			m.unit(t, pkg, args...)
		})
	}
	m.install(hypervisor(t))
	t.Run("hcs_with_a_library", func(t *testing.T) {
		out := m.unit(t, "internal/hcs", "-test.v", "-test.run=TestLibrary_Stub", "-test.count=10")
		if n := strings.Count(out, "--- PASS: TestLibrary_Stub"); n != 10 {
			t.Errorf("passed %d times of 10:\n%s", n, out)
		}
	})
}

func source(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unit runs the tests of a package and returns what they said. A run of none is a failure.
func (m *machine) unit(t *testing.T, pkg string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := m.Command(ctx, filepath.Join(env.bin, path.Base(pkg)+".test.exe"), args...)
	cmd.Dir = filepath.Join("..", "..", filepath.FromSlash(pkg)) // for its testdata
	// What a test lacks here is no fault: units says what runs.
	cmd.Env = append(cmd.Env, "PORTHOLE_TEST_STRICT=")
	out := create(t, t.TempDir(), "out")
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	text := read(t, out)
	if err != nil || !strings.Contains(text, "--- PASS") {
		t.Errorf("%v\n%s", err, text)
	}
	return text
}
