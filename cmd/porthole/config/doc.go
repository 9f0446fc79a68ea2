// Package config is the daemon's configuration file: one TOML file with a version.
//
// It is strict: Load names every unknown key and every bad value, each with its line,
// all at once. The defaults are those of default.toml, which `porthole config default`
// prints and which is the reference of all keys.
//
// It is not for what the machine has: whether files exist and addresses are free is for
// `porthole doctor` and for the parts that use them to say.
package config
