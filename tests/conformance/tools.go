//go:build tools

// Package conformance holds the reference's programs as dependencies, so that they are built at
// the version the suite names.
package conformance

import (
	_ "go.etcd.io/bbolt/cmd/bbolt"
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
