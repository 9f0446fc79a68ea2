package busyfile

import (
	"errors"
	"time"

	"golang.org/x/sys/windows"
)

// limit is some times as long as a reader has a small file open, and as a scanner for viruses
// looks at one.
const limit = 2 * time.Second

func retry(do func() error) error {
	deadline := time.Now().Add(limit)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := do()
		if !errors.Is(err, windows.ERROR_ACCESS_DENIED) && !errors.Is(err, windows.ERROR_SHARING_VIOLATION) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}
