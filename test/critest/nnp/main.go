// Command nnp says which user it runs as. Its image for critest has it with the
// set-user-ID bit, which no_new_privs makes void.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Printf("Effective uid: %d\n", os.Geteuid()) }
