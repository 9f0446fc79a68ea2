package card

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/porthole-run/porthole/share"
	"github.com/porthole-run/porthole/share/posix"
)

// A script is lines of
//
//	[process:] verb argument ... [= expectation]
//
// of which commands_*.go have the verbs. Processes begin when they are first named: root
// (also when none is named) and root2 as uid 0; alice as 1001:1001; bob as 1002:1002;
// carol as 1003:1003 with group 1001 besides; all with umask 0 and in the check's folder.
// "proc name key=value ..." makes others. "bg name: verb ..." begins a call that may wait;
// "blocked name" says that it waits; "done name [= expectation]" that it has ended.
//
// Words are bytes: "quoted" ones have Go's escapes, @n is a name of n bytes and %n a
// path of n bytes to the folder itself. An expectation is an errno's name, or several
// with | between, or what the verb prints; none is success, whatever it prints.
type script struct {
	t     *run
	procs map[string]*actor
	files map[string]handle
	notes map[string]share.Attr
	maps  map[string]mapping
}

// actor is a process and the call that it may be in.
type actor struct {
	Proc
	busy chan outcome // not nil between bg and done
}

type handle struct {
	File
	owner string
}

type mapping struct {
	b     []byte
	unmap func() error
}

// run is where a script runs.
type run struct {
	sys System
	dir string // relative to the system's root
}

// outcome is what one line came to.
type outcome struct {
	text string
	err  error // of the call; a wrapped posix.Errno
}

func (o outcome) String() string {
	if o.err != nil {
		return posix.FromError(o.err).Name()
	}
	return o.text
}

// brokenError is a line that could not be run at all, as opposed to a call that failed.
type brokenError struct{ text string }

func (e brokenError) Error() string { return e.text }

func broken(format string, args ...any) error { return brokenError{fmt.Sprintf(format, args...)} }

func newScript(t *run) *script {
	return &script{t: t, procs: map[string]*actor{}, files: map[string]handle{}, notes: map[string]share.Attr{}, maps: map[string]mapping{}}
}

// close ends the processes.
func (s *script) close() {
	for _, m := range s.maps {
		_ = m.unmap()
	}
	for _, a := range s.procs {
		a.Interrupt()
		if a.busy != nil {
			select {
			case <-a.busy:
			case <-time.After(patience):
				continue // it hangs: its owner ends it with the system
			}
		}
		a.Exit()
	}
}

// patience is how long a call may take that should not wait. Making a thousand files in an
// emulated guest takes seconds, and several times that on a busy machine.
const patience = time.Minute

var knownCreds = map[string]Cred{
	"root":  {Groups: []uint32{0}},
	"root2": {Groups: []uint32{0}},
	"alice": {UID: 1001, GID: 1001},
	"bob":   {UID: 1002, GID: 1002},
	"carol": {UID: 1003, GID: 1003, Groups: []uint32{1001}},
}

func (s *script) proc(name string) (*actor, error) {
	if a := s.procs[name]; a != nil {
		return a, nil
	}
	c, ok := knownCreds[name]
	if !ok {
		return nil, broken("no process %q", name)
	}
	return s.start(name, c)
}

func (s *script) start(name string, c Cred) (*actor, error) {
	p, err := s.t.sys.Start(c, s.t.dir)
	if err != nil {
		return nil, broken("start %s: %v", name, err)
	}
	a := &actor{Proc: p}
	s.procs[name] = a
	return a, nil
}

// run executes all lines and returns the first that did not go as it says.
func (s *script) run(text string) error {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := s.check(line); err != nil {
			return fmt.Errorf("line %d: %s: %w", i+1, line, err)
		}
	}
	return nil
}

// check executes a line and compares.
func (s *script) check(line string) error {
	l, err := parseLine(line)
	if err != nil {
		return err
	}
	got, err := s.exec(l)
	if err != nil {
		return err
	}
	switch {
	case l.expect == nil && got.err != nil:
		return fmt.Errorf("is %s (%w)", got, got.err)
	case l.expect != nil && !l.matches(got):
		if got.err != nil {
			return fmt.Errorf("is %s (%w)", got, got.err)
		}
		return fmt.Errorf("is %s", got)
	}
	return nil
}

// line is one parsed line.
type line struct {
	who, verb  string
	args       []string
	background bool
	expect     *string // nil: any success
}

// matches tells whether an outcome is what the line says.
func (l line) matches(o outcome) bool {
	if o.err == nil {
		return *l.expect == o.text
	}
	for _, name := range strings.Split(*l.expect, "|") {
		if posix.FromError(o.err).Name() == name {
			return true
		}
	}
	return false
}

func parseLine(text string) (line, error) {
	words, raw, err := splitWords(text)
	if err != nil {
		return line{}, err
	}
	l := line{who: "root"}
	for i, w := range raw {
		if w != "=" {
			continue
		}
		e := strings.Join(words[i+1:], " ")
		l.expect = &e
		words = words[:i]
		break
	}
	if len(words) > 0 && words[0] == "bg" {
		l.background, words = true, words[1:]
	}
	if len(words) > 0 && strings.HasSuffix(words[0], ":") {
		l.who, words = strings.TrimSuffix(words[0], ":"), words[1:]
	}
	if len(words) == 0 {
		return line{}, broken("no verb")
	}
	l.verb, l.args = words[0], words[1:]
	return l, nil
}

// splitWords returns a line's words, and how each was written.
func splitWords(text string) (words, raw []string, err error) {
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if text[0] == '"' {
			q, err := strconv.QuotedPrefix(text)
			if err != nil {
				return nil, nil, broken("quote in %q: %v", text, err)
			}
			w, err := strconv.Unquote(q)
			if err != nil {
				return nil, nil, broken("quote %q: %v", q, err)
			}
			words, raw, text = append(words, w), append(raw, q), text[len(q):]
			continue
		}
		w, rest, _ := strings.Cut(text, " ")
		words, raw, text = append(words, expand(w)), append(raw, w), rest
	}
	return words, raw, nil
}

// expand replaces @n and %n at the end of a word's path components.
func expand(word string) string {
	if !strings.ContainsAny(word, "@%") {
		return word
	}
	parts := strings.Split(word, "/")
	for i, p := range parts {
		at := strings.LastIndexAny(p, "@%")
		if at < 0 {
			continue
		}
		n, err := strconv.Atoi(p[at+1:])
		switch {
		case err != nil:
		case p[at] == '@':
			parts[i] = p[:at] + strings.Repeat("n", n)
		case p[at] == '%':
			// The join puts the last slash back.
			parts[i] = p[:at] + strings.TrimSuffix(strings.Repeat("./", n/2), "/") + strings.Repeat("/", n%2)
		}
	}
	return strings.Join(parts, "/")
}

// exec runs a line. The error is of the script, not of the call.
func (s *script) exec(l line) (outcome, error) {
	switch l.verb {
	case "proc":
		return s.declare(l.args)
	case "blocked", "done", "interrupt", "exit":
		if len(l.args) != 1 {
			return outcome{}, broken("%s: name a process", l.verb)
		}
		return s.control(l.verb, l.args[0])
	}
	c, ok := commands[l.verb]
	if !ok {
		return outcome{}, broken("no verb %q", l.verb)
	}
	if len(l.args) < c.args {
		return outcome{}, broken("%s takes %d arguments", l.verb, c.args)
	}
	a, err := s.proc(l.who)
	if err != nil {
		return outcome{}, err
	}
	if a.busy != nil {
		return outcome{}, broken("%s waits", l.who)
	}
	call := func() outcome {
		text, err := c.run(&env{script: s, Proc: a.Proc, who: l.who}, l.args)
		return outcome{text, err}
	}
	a.busy = make(chan outcome, 1)
	go func(busy chan<- outcome) { busy <- call() }(a.busy)
	if l.background {
		return outcome{}, nil
	}
	return s.await(a)
}

// await returns the outcome of the call that a process is in.
func (s *script) await(a *actor) (outcome, error) {
	select {
	case o := <-a.busy:
		a.busy = nil
		if b, ok := o.err.(brokenError); ok {
			return outcome{}, b
		}
		return o, nil
	case <-time.After(patience):
		return outcome{}, broken("has not ended after %v", patience)
	}
}

func (s *script) control(verb, name string) (outcome, error) {
	a := s.procs[name]
	if a == nil || (a.busy == nil && verb != "exit") {
		return outcome{}, broken("%s is in no call", name)
	}
	switch verb {
	case "blocked":
		select {
		case o := <-a.busy:
			a.busy <- o
			return outcome{}, broken("does not wait: is %s", o)
		case <-time.After(100 * time.Millisecond):
			return outcome{}, nil
		}
	case "interrupt":
		a.Interrupt()
		return outcome{}, nil
	case "exit":
		a.Exit()
		delete(s.procs, name)
		return outcome{}, nil
	}
	return s.await(a)
}

func (s *script) declare(args []string) (outcome, error) {
	if len(args) == 0 {
		return outcome{}, broken("name the process")
	}
	var c Cred
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		var nums []uint32
		for _, v := range strings.Split(value, ",") {
			n, err := strconv.ParseUint(v, 0, 32)
			if err != nil {
				return outcome{}, broken("%s: %v", arg, err)
			}
			nums = append(nums, uint32(n))
		}
		switch key {
		case "uid":
			c.UID = nums[0]
		case "gid":
			c.GID = nums[0]
		case "umask":
			c.Umask = nums[0]
		case "groups":
			c.Groups = nums
		default:
			return outcome{}, broken("no attribute %q of a process", key)
		}
	}
	_, err := s.start(args[0], c)
	return outcome{}, err
}
