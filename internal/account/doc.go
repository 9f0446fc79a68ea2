// Package account says who a container's process runs as, from the image's own
// passwd and group files. The host and the agent in the guest both do, by the same rules.
//
// Those files come from an image, so they are foreign bytes: sizes are bounded, and
// lines that are not entries are passed over, as libc does. The package opens no
// files; the caller opens them confined to the container's root. Its functions keep
// no state and are safe for concurrent use.
package account
