// Package manifests holds tests of deploy/kubernetes: each file is what the API takes, and
// the admission policy decides as an API server would. It is a module of its own, as it takes the API
// server's CEL library.
package manifests
