package offspring

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// roles are what this binary is when it is started as one of a test's processes.
var roles = map[string]func(args []string){
	// say writes its arguments and its folder, and ends.
	"say": func(args []string) {
		dir, _ := os.Getwd()
		fmt.Printf("%q in %s\n", args, filepath.Base(dir))
		fmt.Fprintln(os.Stderr, "to stderr")
		os.Exit(3)
	},
	// parent starts what outlives it, and waits to be killed.
	"parent": func(args []string) {
		out, err := os.Create(args[0])
		if err == nil {
			_, err = Command{Path: os.Args[0], Args: []string{"last", args[1]}, Stdout: out}.Start()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("started")
		time.Sleep(time.Minute)
	},
	// last waits until a file is there.
	"last": func(args []string) {
		for range 6000 {
			if _, err := os.Stat(args[0]); err == nil {
				fmt.Println("ran on")
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	},
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if role := roles[os.Args[1]]; role != nil {
			role(os.Args[2:])
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

func TestStart(t *testing.T) {
	dir := t.TempDir()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := Command{
		Path: os.Args[0], Args: []string{"say", "one", "two words", `a "quote"`, `back\slash\`, ""}, Dir: dir, Stdout: out, Stderr: out,
	}.Start()
	if err != nil {
		t.Fatal(err)
	}
	state, err := p.Wait()
	if err != nil || state.ExitCode() != 3 {
		t.Errorf("Wait() = %v, %v, want exit code 3", state, err)
	}
	want := fmt.Sprintf("%q in %s\nto stderr\n", []string{"one", "two words", `a "quote"`, `back\slash\`, ""}, filepath.Base(dir))
	if got := read(t, out.Name()); got != want {
		t.Errorf("it wrote\n%s\nwant\n%s", got, want)
	}
}

func TestStart_NoProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.exe")
	if _, err := (Command{Path: path}).Start(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("Start() = %v", err)
	}
}

// TestStart_Outlives: what was started goes on when the process that has started it is killed.
func TestStart_Outlives(t *testing.T) {
	out, begin := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "go")
	kill(t, "started", "parent", out, begin)
	if err := os.WriteFile(begin, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); read(t, out) != "ran on\n"; time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatalf("it has not gone on; it wrote %q", read(t, out))
		}
	}
}

// kill runs this binary in a role until it has written a line that begins with word, kills it, and returns the
// rest of the line.
func kill(t *testing.T, word string, args ...string) (rest string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), word)
	if kerr := cmd.Process.Kill(); kerr != nil {
		t.Fatal(kerr)
	}
	_ = cmd.Wait() // it was killed
	if err != nil || !ok {
		t.Fatalf("%s wrote %q, %v", args[0], line, err)
	}
	return rest
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
