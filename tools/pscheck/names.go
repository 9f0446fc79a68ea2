package main

import (
	"fmt"
	"slices"
	"strings"

	sitter "github.com/tree-sitter/go-tree-sitter"
)

// cmdlet is a command of Windows that scripts may call.
type cmdlet struct {
	parameters string // that they may give it, by their whole names, with blanks between
	module     bool   // of a module, which does not see the script's $ErrorActionPreference
}

// cmdlets are those that the scripts here use: a name that is none of these, nor a function of the script,
// is a slip, or to be added with its parameters as Windows PowerShell 5.1 has them.
var cmdlets = map[string]cmdlet{
	"Add-MpPreference":       {parameters: "ExclusionPath", module: true},
	"Copy-Item":              {parameters: "LiteralPath Destination"},
	"ForEach-Object":         {},
	"Get-Command":            {},
	"Get-MpPreference":       {module: true},
	"Get-WindowsFeature":     {parameters: "Name", module: true},
	"Install-WindowsFeature": {parameters: "Name IncludeManagementTools", module: true},
	"Join-Path":              {},
	"New-Item":               {parameters: "ItemType Path"},
	"Out-Host":               {},
	"Out-Null":               {},
	"Remove-Item":            {parameters: "LiteralPath Recurse Force"},
	"Remove-MpPreference":    {parameters: "ExclusionPath", module: true},
	"Set-StrictMode":         {parameters: "Version"},
	"Test-Path":              {parameters: "LiteralPath"},
	"Where-Object":           {},
	"Write-Warning":          {},
}

// automatic are variables that PowerShell sets.
var automatic = []string{"_", "true", "false", "null", "PSScriptRoot", "PSCmdlet", "PID", "Host", "ExecutionContext", "LASTEXITCODE"}

// names says which commands, parameters and variables of a script are not there, as a strict mode would
// when it came to them. The script may be of ASCII alone: Windows PowerShell 5.1 reads others by the host's code page.
func names(path string, text []byte, root *sitter.Node) []error {
	n := naming{path: path, text: text, functions: map[string][]string{}}
	for i, c := range text {
		if c > 0x7e {
			n.errs = append(n.errs, fmt.Errorf("%s: byte %d is not ASCII", path, i))
			break
		}
	}
	n.declare(root, "")
	n.look(root)
	return n.errs
}

type naming struct {
	path      string
	text      []byte
	functions map[string][]string // parameters by name
	variables []string
	errs      []error
}

func (n *naming) of(node *sitter.Node) string { return string(n.text[node.StartByte():node.EndByte()]) }

func (n *naming) say(node *sitter.Node, format string, args ...any) {
	at := node.StartPosition()
	n.errs = append(n.errs, fmt.Errorf("%s:%d:%d: %s", n.path, at.Row+1, at.Column+1, fmt.Sprintf(format, args...)))
}

// variable is a variable's name without what says where it lives. "": it is the environment's.
func (n *naming) variable(node *sitter.Node) string {
	name := strings.Trim(strings.TrimLeft(n.of(node), "$@"), "{}")
	scope, rest, ok := strings.Cut(name, ":")
	switch {
	case !ok:
		return name
	case strings.EqualFold(scope, "env"):
		return ""
	}
	return rest
}

// declare notes functions with their parameters, and variables that are set.
func (n *naming) declare(node *sitter.Node, function string) {
	switch node.Kind() {
	case "function_statement":
		for i := range node.ChildCount() {
			if c := node.Child(i); c.Kind() == "function_name" {
				function = n.of(c)
				n.functions[function] = []string{}
			}
		}
	case "script_parameter", "foreach_statement":
		for i := range node.ChildCount() {
			if c := node.Child(i); c.Kind() == "variable" {
				n.variables = append(n.variables, n.variable(c))
				if function != "" && node.Kind() == "script_parameter" {
					n.functions[function] = append(n.functions[function], n.variable(c))
				}
			}
		}
	case "left_assignment_expression":
		n.set(node)
	}
	for i := range node.ChildCount() {
		n.declare(node.Child(i), function)
	}
}

func (n *naming) set(node *sitter.Node) {
	if node.Kind() == "variable" {
		n.variables = append(n.variables, n.variable(node))
	}
	for i := range node.ChildCount() {
		n.set(node.Child(i))
	}
}

func (n *naming) look(node *sitter.Node) {
	switch node.Kind() {
	case "command":
		n.command(node)
	case "variable":
		if name := n.variable(node); name != "" && !has(automatic, name) && !has(n.variables, name) {
			n.say(node, "nothing sets $%s", name)
		}
	}
	for i := range node.ChildCount() {
		n.look(node.Child(i))
	}
}

func has(all []string, name string) bool {
	return slices.ContainsFunc(all, func(s string) bool { return strings.EqualFold(s, name) })
}

func (n *naming) command(node *sitter.Node) {
	name := node.ChildByFieldName("command_name")
	if name == nil || name.Kind() != "command_name" {
		return // a program, by a variable
	}
	var given []string
	if e := node.ChildByFieldName("command_elements"); e != nil {
		for i := range e.ChildCount() {
			if c := e.Child(i); c.Kind() == "command_parameter" {
				given = append(given, strings.TrimSuffix(strings.TrimPrefix(n.of(c), "-"), ":"))
			}
		}
	}
	known, ours := n.functions[n.of(name)]
	c, theirs := cmdlets[n.of(name)]
	if !ours && !theirs {
		n.say(name, "no command %s is known", n.of(name))
		return
	}
	if theirs {
		known = append(strings.Fields(c.parameters), "ErrorAction")
	}
	for _, p := range given {
		if !has(known, p) {
			n.say(name, "%s has no parameter -%s", n.of(name), p)
		}
	}
	if c.module && !has(given, "ErrorAction") {
		n.say(name, "%s, of a module, does not see $ErrorActionPreference: it wants -ErrorAction", n.of(name))
	}
}
