// Package hnsfake is an HNS in memory, for tests of what calls HNS: it keeps networks,
// endpoints and namespaces as data, takes the documents that plugins give it as strictly
// as HNS does, and String shows what it holds. It can fail any call with any code, not
// answer, choose other ids than those asked for, stop, and restart, which loses what is
// not persistent.
//
// It is not for what HNS does with packets. An HNS is made by New and safe for
// concurrent use.
package hnsfake
