// Command podsrelay carries connections to a TCP port of loopback to a named pipe, under
// Wine, where the pipe is out of reach for programs of Linux:
//
//	podsrelay 127.0.0.1:7779 \\.\pipe\kubelet-pods-api
//
// It runs until it is killed.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "podsrelay: name an address and a pipe")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "podsrelay:", err)
		os.Exit(1)
	}
}

func serve(addr, pipe string) error {
	// The first connection to a pipe's listener is never answered under Wine: this is it.
	first, err := patiently(pipe)
	if err != nil {
		return err
	}
	defer first.Close()
	fmt.Println("connected to", pipe)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	for {
		near, err := l.Accept()
		if err != nil {
			return err
		}
		go carry(near, pipe)
	}
}

// patiently waits for the pipe to be there: the kubelet makes it when it is up.
func patiently(pipe string) (net.Conn, error) {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		c, err := dial(context.Background(), pipe)
		if err == nil || time.Now().After(deadline) {
			return c, err
		}
	}
}

// carry ends with either side.
func carry(near net.Conn, pipe string) {
	defer near.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	far, err := dial(ctx, pipe)
	if err != nil {
		fmt.Fprintln(os.Stderr, "podsrelay:", err)
		return
	}
	go func() {
		io.Copy(far, near)
		far.Close()
	}()
	io.Copy(near, far)
	far.Close()
}
