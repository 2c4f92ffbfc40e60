//go:build tools

// Package coredns pins the DNS server of the local cluster. Nothing compiles
// this file: it holds the module in go.mod.
package coredns

import _ "github.com/coredns/coredns"
