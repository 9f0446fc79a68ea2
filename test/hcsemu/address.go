package hcsemu

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// NICAddress is the address of the n-th NIC of a VM, in the form of HNS. The id is a GUID or
// the same without dashes, as pods' ids are.
func NICAddress(vmID string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", strings.ToLower(strings.ReplaceAll(vmID, "-", "")), n))
	return fmt.Sprintf("00-15-5D-%02X-%02X-%02X", sum[0], sum[1], sum[2])
}
