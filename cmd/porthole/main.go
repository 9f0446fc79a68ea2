package main

import (
	"context"
	"fmt"
	"os"
)

func main() {
	err := run(context.Background(), stdio{os.Stdout, os.Stderr}, os.Args[1:])
	if text := errorText(err); text != "" {
		fmt.Fprintln(os.Stderr, "porthole:", text)
	}
	os.Exit(exitCode(err))
}
