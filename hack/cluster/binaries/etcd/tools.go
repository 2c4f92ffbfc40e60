//go:build tools

// Package etcd pins the etcd server that the local cluster stores its objects
// in. Nothing compiles this file: it holds the module in go.mod.
package etcd

import _ "go.etcd.io/etcd/server/v3"
