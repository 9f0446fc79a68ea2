package shim

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

func TestStartTime(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := identify(cmd.Process.Pid)
	if err == nil && len(id.Start) != 16 {
		t.Errorf("identify() = %+v", id)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if id.alive() {
		t.Error("a process that has ended is alive")
	}
	self, err := identify(os.Getpid())
	if err != nil || !self.alive() {
		t.Errorf("identify() of this process = %+v, %v", self, err)
	}
	other := processID{PID: self.PID, Start: "0"}
	if other.alive() {
		t.Error("another process with this number is alive")
	}
	if _, err := startTime(0x7ffffffc); err == nil || errors.Is(err, os.ErrProcessDone) {
		t.Errorf("startTime() of none = %v", err)
	}
}

// TestOpenLog: the log of a shim that runs keeps nobody from its folder.
func TestOpenLog(t *testing.T) {
	f := folder(t.TempDir())
	log, err := f.openLog()
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := os.Rename(f.log(), f.log()+".1"); err != nil {
		t.Errorf("rename the open log: %v", err)
	}
	if err := os.Remove(f.log() + ".1"); err != nil {
		t.Errorf("remove the open log: %v", err)
	}
}
