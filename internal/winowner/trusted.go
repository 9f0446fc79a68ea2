package winowner

import "slices"

// trusted are SYSTEM, Administrators, and TrustedInstaller, which has Windows' own folders.
var trusted = []string{"S-1-5-18", "S-1-5-32-544", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"}

// Trusted tells whether the account with that SID is of those who may do anything anyway.
func Trusted(sid string) bool { return slices.Contains(trusted, sid) }
