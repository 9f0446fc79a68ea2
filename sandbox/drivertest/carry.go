package drivertest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// EchoTCP sends more than a few packets to an address of the suite's guest, and wants them back.
func EchoTCP(address string) error {
	c, err := net.DialTimeout("tcp", address, 20*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	want := strings.Repeat("packets ", 32<<10)
	go func() { // ends with c
		_, _ = io.WriteString(c, want)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if string(got) != want {
		return fmt.Errorf("echoed %d bytes, want %d", len(got), len(want))
	}
	return nil
}
