// A Go program that waits: its stacks move, and it has to be refused.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	fmt.Printf("pid %d\nREADY\n", os.Getpid())
	_, _ = io.Copy(io.Discard, os.Stdin)
}
