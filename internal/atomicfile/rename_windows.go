package atomicfile

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// renameLimit is how long rename tries: some times as long as a reader has a small file open.
const renameLimit = 2 * time.Second

// rename tries again while another process has the file at to open, or renames one to it
// too, which Windows refuses.
func rename(from, to string) error {
	deadline := time.Now().Add(renameLimit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := os.Rename(from, to)
		if !errors.Is(err, windows.ERROR_ACCESS_DENIED) && !errors.Is(err, windows.ERROR_SHARING_VIOLATION) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}
