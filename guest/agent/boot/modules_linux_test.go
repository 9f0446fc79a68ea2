package boot

import (
	"os"
	"path/filepath"
	"testing"
)

// TestScanByHand: a kernel without SCSI has nothing to be told.
func TestScanByHand(t *testing.T) {
	sys := t.TempDir()
	if err := scanByHand(sys); err != nil {
		t.Errorf("without SCSI: %v", err)
	}
	file := filepath.Join(sys, "module/scsi_mod/parameters/scan")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("async"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := scanByHand(sys); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); string(got) != "manual" {
		t.Errorf("scan = %q, %v, want manual", got, err)
	}
}
