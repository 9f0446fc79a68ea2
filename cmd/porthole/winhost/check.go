package winhost

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/porthole-run/porthole/internal/hcs"
	"github.com/porthole-run/porthole/network/hcnnet"
)

// Finding is what one check has found.
type Finding struct {
	Name   string
	OK     bool
	Needed bool   // without it pods do not run
	Detail string // what was seen
	Fix    string // the command that mends it; empty: none does
}

// A check looks at one thing. One that does not apply returns nothing.
type check func(Facts) []Finding

// checks are in the order in which an administrator mends what they find.
var checks = []check{
	checkElevated, checkBuild, checkServices, checkHCS, checkHNS, checkVolumes, checkPipe, checkDefender,
}

// Check says what the facts mean for Porthole.
func Check(f Facts) []Finding {
	var out []Finding
	for _, c := range checks {
		out = append(out, c(f)...)
	}
	return out
}

func checkElevated(f Facts) []Finding {
	out := Finding{Name: "rights", Needed: true, OK: f.Elevated, Detail: "runs elevated"}
	if !f.Elevated {
		out.Detail = "runs without the rights of an Administrator: what the rest says may be for want of them"
		out.Fix = "Start-Process powershell -Verb RunAs, and porthole doctor there"
	}
	return []Finding{out}
}

func checkBuild(f Facts) []Finding {
	out := Finding{Name: "windows", Needed: true, OK: f.Build >= MinBuild, Detail: fmt.Sprintf("%s, build %d.%d", f.Product, f.Build, f.Revision)}
	if !out.OK {
		out.Detail += fmt.Sprintf(": %d (Windows Server 2022) or later is needed, as VMs boot a Linux kernel directly", MinBuild)
		out.Fix = "upgrade to Windows Server 2022 or later"
	}
	return []Finding{out}
}

func checkServices(f Facts) []Finding {
	var out []Finding
	for _, n := range needed {
		s, ok := f.Services[n.name]
		r := Finding{Name: "service " + n.name, Needed: true, Detail: n.what + " is " + s.Status}
		switch {
		case !ok:
			r.Detail, r.Fix = n.what+" is not installed", n.install
		case s.Err != nil:
			r.Detail = fmt.Sprintf("%s: %v", n.what, s.Err)
		case s.Disabled:
			r.Detail, r.Fix = n.what+" is disabled", fmt.Sprintf("Set-Service %s -StartupType Manual; Start-Service %s", n.name, n.name)
		case s.Status != "running":
			// Windows starts them when they are called, and stops some after a while.
			r.OK, r.Detail = true, r.Detail+", and starts when it is called"
		default:
			r.OK = true
		}
		out = append(out, r)
	}
	return out
}

func checkHCS(f Facts) []Finding {
	out := Finding{Name: "hcs", Needed: true}
	if f.SchemaErr != nil {
		out.Detail, out.Fix = f.SchemaErr.Error(), installHyperV
		var e *hcs.Error
		if errors.As(f.SchemaErr, &e) {
			out.Fix = step(uint32(e.Code))
		}
		return []Finding{out}
	}
	var texts []string
	for _, v := range f.Schema {
		texts = append(texts, fmt.Sprintf("%d.%d", v.Major, v.Minor))
		out.OK = out.OK || v.Major == 2 && v.Minor >= 1
	}
	out.Detail = "computecore.dll answers; documents of schema " + strings.Join(texts, ", ")
	if !out.OK {
		out.Detail += ": 2.1 is needed"
		out.Fix = "upgrade to Windows Server 2022 or later"
	}
	return []Finding{out}
}

// minHNS is the first version with namespaces (hnslib's V2ApiSupported).
var minHNS = hcnnet.Version{Major: 9, Minor: 2}

func checkHNS(f Facts) []Finding {
	out := Finding{Name: "hns", Needed: true}
	if f.HNSErr != nil {
		out.Detail, out.Fix = f.HNSErr.Error(), installContainers
		var e *hcnnet.Error
		if errors.As(f.HNSErr, &e) {
			// A code that the Host Compute Service has too is of the other service there.
			if _, out.Fix = hcnnet.Explain(e.Code); out.Fix == "" {
				out.Fix = step(e.Code)
			}
		}
		return []Finding{out}
	}
	out.OK = f.HNS.Major > minHNS.Major || f.HNS.Major == minHNS.Major && f.HNS.Minor >= minHNS.Minor
	out.Detail = fmt.Sprintf("the Host Network Service answers, version %d.%d", f.HNS.Major, f.HNS.Minor)
	if !out.OK {
		out.Detail += fmt.Sprintf(": %d.%d is needed for networks of pods", minHNS.Major, minHNS.Minor)
		out.Fix = "upgrade to Windows Server 2022 or later"
	}
	return []Finding{out}
}

// MinFree is what a few images and scratch disks take.
const MinFree = 2 << 30

func checkVolumes(f Facts) []Finding {
	var out []Finding
	for _, dir := range slices.Sorted(maps.Keys(f.Volumes)) {
		v := f.Volumes[dir]
		r := Finding{Name: "folder", Needed: true, Detail: fmt.Sprintf("%s: %s, %.1f GiB free", dir, v.FileSystem, float64(v.FreeBytes)/(1<<30))}
		switch {
		case v.Err != nil:
			r.Detail = fmt.Sprintf("%s: %v", dir, v.Err)
		case v.FileSystem != "NTFS" && v.FileSystem != "ReFS":
			r.Detail += ": virtual disks want NTFS or ReFS"
			r.Fix = "set root and state in the configuration to a folder on such a volume"
		case v.Compressed:
			r.Detail += ": compressed, and Hyper-V attaches no compressed disks (0xc03a001a)"
			r.Fix = `compact /u /s:"` + dir + `" /i`
		case v.Encrypted:
			r.Detail += ": encrypted, and Hyper-V attaches no encrypted disks (0xc03a001a)"
			r.Fix = `cipher /d /s:"` + dir + `"`
		case v.FreeBytes < MinFree:
			r.Detail += fmt.Sprintf(": images and scratch disks want %d GiB at least", MinFree>>30)
			r.Fix = "crictl rmi --prune"
		default:
			r.OK = true
		}
		out = append(out, r)
	}
	return out
}

// checkPipe looks who may call the CRI. The daemon need not be up.
func checkPipe(f Facts) []Finding {
	out := Finding{Name: "pipe", Detail: f.Pipe + " is served; " + f.PipeACL}
	switch {
	case f.Pipe == "":
		return nil
	case errors.Is(f.PipeErr, fs.ErrNotExist):
		out.Detail, out.Fix = "nobody serves "+f.Pipe, "porthole service start"
	case errors.Is(f.PipeErr, fs.ErrPermission):
		out.Detail = f.Pipe + " lets this user not in: Administrators and SYSTEM may"
		out.Fix = "use an elevated prompt"
	case f.PipeErr != nil:
		out.Detail = fmt.Sprintf("%s: %v", f.Pipe, f.PipeErr)
	default:
		open := Anybody(f.PipeACL)
		out.OK = open == ""
		if open != "" {
			out.Needed = true
			out.Detail = fmt.Sprintf("%s lets %s in, who then can do what SYSTEM can: %s", f.Pipe, open, f.PipeACL)
			out.Fix = `set grpc.security_descriptor to "D:P(A;;GA;;;BA)(A;;GA;;;SY)" and restart the service`
		}
	}
	return []Finding{out}
}

// wide are trustees in SDDL that stand for more than a few people.
var wide = map[string]string{
	"WD": "everyone", "S-1-1-0": "everyone", "AN": "anonymous callers", "S-1-5-7": "anonymous callers",
	"AU": "all that log on", "S-1-5-11": "all that log on", "BU": "all users", "S-1-5-32-545": "all users",
	"BG": "guests", "IU": "who is logged on here", "NU": "who comes over the network", "AC": "all app packages",
}

// Anybody names whom a security descriptor lets in beyond a few people; empty: nobody.
func Anybody(sddl string) string {
	_, dacl, ok := strings.Cut(sddl, "D:")
	if !ok || strings.Contains(dacl, "NO_ACCESS_CONTROL") {
		return "everyone (it has no list of access)"
	}
	for _, ace := range strings.Split(dacl, "(")[1:] {
		body, rest, _ := strings.Cut(ace, ")")
		fields := strings.Split(body, ";")
		if len(fields) >= 6 && strings.HasSuffix(fields[0], "A") && wide[fields[5]] != "" {
			return wide[fields[5]]
		}
		if strings.HasPrefix(rest, "S:") {
			break // what follows is about auditing
		}
	}
	return ""
}

// checkDefender is never missing: a scanner slows disks down, and holds them now and then.
func checkDefender(f Facts) []Finding {
	out := Finding{Name: "defender"}
	switch {
	case errors.Is(f.ExclusionsErr, fs.ErrNotExist):
		return nil
	case f.ExclusionsErr != nil:
		out.Detail = fmt.Sprintf("its exclusions are not known: %v", f.ExclusionsErr)
		return []Finding{out}
	}
	var missing []string
	for _, dir := range slices.Sorted(maps.Keys(f.Volumes)) {
		if !excluded(f.Exclusions, dir) {
			missing = append(missing, dir)
		}
	}
	if len(missing) == 0 {
		out.OK, out.Detail = true, "Porthole's folders are not scanned"
		return []Finding{out}
	}
	out.Detail = "it scans " + strings.Join(missing, ", ") + ": starts are slow, and disks may be in use (0x80070020)"
	out.Fix = "Add-MpPreference -ExclusionPath '" + strings.Join(missing, "','") + "'"
	return []Finding{out}
}

func excluded(list []string, dir string) bool {
	dir = winPath(dir)
	return slices.ContainsFunc(list, func(e string) bool {
		e = strings.TrimSuffix(winPath(e), "/")
		return dir == e || strings.HasPrefix(dir, e+"/")
	})
}

// winPath is a path of Windows for comparing.
func winPath(p string) string { return path.Clean(strings.ToLower(strings.ReplaceAll(p, `\`, "/"))) }
