package offspring

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

func init() { roles["amid"] = amid }

// amid stays between making a process, which it never lets run, and the end of Start: with "held" before it has let
// that go on without it, with "gone" after.
func amid(args []string) {
	job, err := newJob()
	if err == nil {
		var info *windows.ProcessInformation
		if info, err = create(Command{Path: os.Args[0], Args: []string{"say"}}, job, windows.CREATE_SUSPENDED); err == nil {
			if args[0] == "gone" {
				err = letGo(job)
			}
			fmt.Println("pid", info.ProcessId)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	time.Sleep(time.Minute)
}

// TestStart_KilledAmid: a process that was made and does not run yet ends with the one that makes it, and would
// stay if that had let it go.
func TestStart_KilledAmid(t *testing.T) {
	for _, tt := range []struct {
		when string
		ends bool
	}{{"held", true}, {"gone", false}} {
		t.Run(tt.when, func(t *testing.T) {
			pid, err := strconv.ParseUint(strings.TrimSpace(kill(t, "pid", "amid", tt.when)), 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			ended := func(wait uint32) bool {
				h, err := windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_TERMINATE, false, uint32(pid))
				if err != nil {
					return true
				}
				defer windows.CloseHandle(h)
				event, err := windows.WaitForSingleObject(h, wait)
				if err != nil {
					t.Fatal(err)
				}
				if event != windows.WAIT_OBJECT_0 {
					_ = windows.TerminateProcess(h, 1)
				}
				return event == windows.WAIT_OBJECT_0
			}
			wait := uint32(30_000)
			if !tt.ends {
				wait = 1000
			}
			if got := ended(wait); got != tt.ends {
				t.Errorf("it has ended: %t, want %t", got, tt.ends)
			}
		})
	}
}
