package cri

import (
	"fmt"
	"math"
	"path/filepath"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/porthole-run/porthole/sandbox"
)

// resources checks and converts cgroup limits. Nil is no limits.
func resources(field string, r *runtimeapi.LinuxContainerResources) (sandbox.Resources, error) {
	none := sandbox.Resources{}
	if err := checkMap(field+".unified", r.GetUnified()); err != nil {
		return none, err
	}
	if len(r.GetHugepageLimits()) > maxListItems {
		return none, invalid(field+".hugepage_limits", "has more than %d entries", maxListItems)
	}
	var pages []sandbox.HugepageLimit
	for i, h := range r.GetHugepageLimits() {
		if !pageSizePattern.MatchString(h.GetPageSize()) {
			return none, invalid(fmt.Sprintf("%s.hugepage_limits[%d].page_size", field, i), "%q is not a page size such as 2MB", h.GetPageSize())
		}
		pages = append(pages, sandbox.HugepageLimit{PageSize: h.GetPageSize(), Limit: h.GetLimit()})
	}
	out := sandbox.Resources{
		CPUPeriod: r.GetCpuPeriod(), CPUQuota: r.GetCpuQuota(), CPUShares: r.GetCpuShares(),
		MemoryLimit: r.GetMemoryLimitInBytes(), MemorySwapLimit: r.GetMemorySwapLimitInBytes(),
		OOMScoreAdj: r.GetOomScoreAdj(), CpusetCPUs: r.GetCpusetCpus(), CpusetMems: r.GetCpusetMems(),
		HugepageLimits: pages, Unified: r.GetUnified(),
	}
	return out, out.Validate(field)
}

// linuxResources is the way back, for status.
func linuxResources(r sandbox.Resources) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{
		CpuPeriod: r.CPUPeriod, CpuQuota: r.CPUQuota, CpuShares: r.CPUShares,
		MemoryLimitInBytes: r.MemoryLimit, MemorySwapLimitInBytes: r.MemorySwapLimit,
		OomScoreAdj: r.OOMScoreAdj, CpusetCpus: r.CpusetCPUs, CpusetMems: r.CpusetMems, Unified: r.Unified,
	}
	for _, h := range r.HugepageLimits {
		out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: h.PageSize, Limit: h.Limit})
	}
	return out
}

// securityFields are the fields that the security contexts of pods and containers share.
type securityFields struct {
	privileged     bool
	user, group    *runtimeapi.Int64Value
	username       string
	groups         []int64
	policy         runtimeapi.SupplementalGroupsPolicy
	readonlyRootfs bool
	selinux        *runtimeapi.SELinuxOption
	seccomp        *runtimeapi.SecurityProfile
	apparmor       *runtimeapi.SecurityProfile
}

func security(field string, f securityFields) (sandbox.Security, error) {
	none := sandbox.Security{}
	if f.group != nil && f.user == nil && f.username == "" {
		return none, invalid(field+".run_as_group", "is set without run_as_user or run_as_username")
	}
	if f.user != nil && f.username != "" {
		return none, invalid(field+".run_as_username", "is set together with run_as_user")
	}
	if err := firstError(
		checkUserID(field+".run_as_user", f.user),
		checkUserID(field+".run_as_group", f.group),
		checkUsername(field+".run_as_username", f.username),
	); err != nil {
		return none, err
	}
	if len(f.groups) > maxGroups {
		return none, invalid(field+".supplemental_groups", "has %d entries, at most %d are taken", len(f.groups), maxGroups)
	}
	for i, g := range f.groups {
		if err := checkUserID(fmt.Sprintf("%s.supplemental_groups[%d]", field, i), &runtimeapi.Int64Value{Value: g}); err != nil {
			return none, err
		}
	}
	switch f.policy {
	case runtimeapi.SupplementalGroupsPolicy_Merge, runtimeapi.SupplementalGroupsPolicy_Strict:
	default:
		return none, invalid(field+".supplemental_groups_policy", "%d is not a policy", f.policy)
	}
	if s := f.selinux; s.GetUser() != "" || s.GetRole() != "" || s.GetType() != "" || s.GetLevel() != "" {
		return none, unbuilt(field+".selinux_options", "the guest has no SELinux")
	}
	if f.apparmor != nil && f.apparmor.GetProfileType() != runtimeapi.SecurityProfile_Unconfined {
		return none, unbuilt(field+".apparmor", "the guest has no AppArmor")
	}
	profile, err := seccomp(field+".seccomp", f.seccomp)
	if err != nil {
		return none, err
	}
	return sandbox.Security{
		Privileged: f.privileged, RunAsUser: idValue(f.user), RunAsGroup: idValue(f.group), RunAsUsername: f.username,
		SupplementalGroups: f.groups, StrictGroups: f.policy == runtimeapi.SupplementalGroupsPolicy_Strict,
		ReadOnlyRootFS: f.readonlyRootfs, Seccomp: profile,
	}, nil
}

func idValue(v *runtimeapi.Int64Value) *int64 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}

func checkUserID(field string, v *runtimeapi.Int64Value) error {
	// 2³²-1 is "no id" to Linux.
	if n := v.GetValue(); n < 0 || n >= math.MaxUint32 {
		return invalid(field, "%d is not a user or group id", n)
	}
	return nil
}

func checkUsername(field, name string) error {
	if len(name) > maxName {
		return invalid(field, "is longer than %d bytes", maxName)
	}
	for _, r := range name {
		if r == ':' || r == '/' || r == '\n' || r == 0 {
			return invalid(field, "%q holds %q, which no user's name can", name, r)
		}
	}
	return nil
}

// seccomp converts a profile; none is unconfined, as the CRI says.
func seccomp(field string, p *runtimeapi.SecurityProfile) (sandbox.SeccompProfile, error) {
	none := sandbox.SeccompProfile{}
	if p == nil {
		return sandbox.SeccompProfile{Type: sandbox.SeccompUnconfined}, nil
	}
	out := sandbox.SeccompProfile{LocalhostPath: p.GetLocalhostRef()}
	switch p.GetProfileType() {
	case runtimeapi.SecurityProfile_RuntimeDefault:
		out.Type = sandbox.SeccompRuntimeDefault
	case runtimeapi.SecurityProfile_Unconfined:
		out.Type = sandbox.SeccompUnconfined
	case runtimeapi.SecurityProfile_Localhost:
		out.Type = sandbox.SeccompLocalhost
		if !filepath.IsAbs(out.LocalhostPath) || len(out.LocalhostPath) > maxPath {
			return none, invalid(field+".localhost_ref", "%q is not the absolute path of a profile", clean(out.LocalhostPath, maxPath))
		}
		return out, checkText(field+".localhost_ref", out.LocalhostPath)
	default:
		return none, invalid(field+".profile_type", "%d is not a profile type", p.GetProfileType())
	}
	if out.LocalhostPath != "" {
		return none, invalid(field+".localhost_ref", "is set though profile_type is %s", p.GetProfileType())
	}
	return out, nil
}

// checkLegacySeccomp refuses the field that seccomp replaced in Kubernetes 1.19, rather
// than running a container without the profile that it names.
func checkLegacySeccomp(field, profile string) error {
	if profile != "" {
		return unbuilt(field+".seccomp_profile_path", "use seccomp instead")
	}
	return nil
}
