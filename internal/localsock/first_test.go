package localsock

import (
	"fmt"
	"io"
	"os"
	"testing"
	"time"
)

// TestListen_ClientIsThere: a client that tries until somebody listens is not taken for
// another's, and is answered.
func TestListen_ClientIsThere(t *testing.T) {
	for range 30 {
		path, tried := place(t), make(chan struct{})
		answer := make(chan error, 1)
		go func() {
			for n := 0; ; n++ {
				if n == 1 {
					close(tried)
				}
				done, err := try(t, path)
				if done || err != nil {
					answer <- err
					return
				}
			}
		}()
		<-tried
		serve(t, path)
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
	}
}

// try asks whoever listens; an error is that somebody took the question and did not answer.
func try(t *testing.T, path string) (done bool, err error) {
	c, err := Dial(t.Context(), path)
	if err != nil {
		return t.Context().Err() != nil, nil
	}
	defer c.Close()
	begin := time.Now()
	if err := c.SetDeadline(begin.Add(10 * time.Second)); err != nil {
		return false, err
	}
	if _, err := c.Write([]byte("who")); err != nil {
		return false, late(begin, err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return false, late(begin, err)
	}
	b, err := io.ReadAll(c)
	return string(b) == "who", late(begin, err)
}

// late is err when it came of waiting.
func late(begin time.Time, err error) error {
	if err != nil && (os.IsTimeout(err) || time.Since(begin) > 9*time.Second) {
		return fmt.Errorf("no answer: %w", err)
	}
	return nil
}
