package writers

import (
	"testing"

	"golang.org/x/sys/windows"
)

// TestFromDescriptor: what a descriptor has is what is judged.
func TestFromDescriptor(t *testing.T) {
	for sddl, want := range map[string]string{
		"O:SYD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)(A;OICIIO;GA;;;CO)":    "",
		"O:BAD:(A;OICIID;FA;;;SY)(A;OICIID;0x1200a9;;;BU)(A;CIID;LC;;;BU)(A;CIID;DC;;;BU)":   users + "!",
		"O:S-1-5-21-7-7-7-1001D:P(A;;FA;;;SY)":                                               alice + "*",
		"O:SYD:P(D;;FA;;;WD)(A;OICIIO;0x1301bf;;;S-1-5-21-7-7-7-1001)(A;CIIO;0x1301bf;;;AU)": alice,
		"O:SY":                            "S-1-1-0!",
		"O:SYD:P(A;;FR;;;WD)(A;;GW;;;AU)": "S-1-5-11!",
	} {
		sd, err := windows.SecurityDescriptorFromString(sddl)
		if err != nil {
			t.Fatal(err)
		}
		acl, err := fromDescriptor(sd)
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(acl.Writers(Folder)); got != want {
			t.Errorf("%s: writers %q, want %q", sddl, got, want)
		}
	}
}
