package conformance

import (
	"fmt"
	"strings"
	"testing"
)

// Members of both programs find each other through a discovery service of either, and the one that
// comes too late is refused in the same words.
func TestDiscovery(t *testing.T) {
	for _, service := range []kind{reference, ours} {
		t.Run(fmt.Sprint(service), func(t *testing.T) {
			registry := newMember(t, service, t.TempDir())
			rc := registry.dial()
			for round, kinds := range [][]kind{{ours, reference, ours}, {reference, reference}, {ours, ours}} {
				token := fmt.Sprintf("token%d", round)
				size := fmt.Sprint(len(kinds))
				if _, err := rc.Put(timeout(t), "/_etcd/registry/"+token+"/_config/size", size); err != nil {
					t.Fatal(err)
				}
				c := &cluster{t: t}
				for i, k := range kinds {
					c.members = append(c.members, discovering(t, k, fmt.Sprintf("m%d", i), token, registry))
				}
				c.startAll()
				list, err := c.dial().MemberList(timeout(t))
				if err != nil || len(list.Members) != len(kinds) {
					t.Fatalf("members: %v %v", list, err)
				}
				if _, err := c.members[0].dial().Put(timeout(t), "k", "v"); err != nil {
					t.Fatal(err)
				}
				c.agree()
				for _, k := range []kind{reference, ours} {
					late := discovering(t, k, "late", token, registry)
					err := late.tryStart()
					if err == nil {
						t.Fatalf("%s: one member too many", k)
					}
					const want = "discovery: cluster is full"
					if !strings.Contains(err.Error(), want) {
						t.Fatalf("%s: %v", k, err)
					}
				}
				for _, m := range c.members {
					m.kill()
				}
				// What is on disk counts, not the registry.
				if _, err := rc.Delete(timeout(t), "/_etcd/registry/"+token+"/_config/size"); err != nil {
					t.Fatal(err)
				}
				c.startAll()
				c.agree()
			}
		})
	}
}

func discovering(t *testing.T, k kind, name, token string, registry *member) *member {
	m := &member{
		t:       t,
		kind:    k,
		dataDir: t.TempDir(),
		client:  fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		peer:    fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
	}
	m.flags = []string{
		"--name=" + name,
		"--initial-advertise-peer-urls=" + m.peer,
		"--discovery-token=" + token,
		"--discovery-endpoints=" + registry.client,
	}
	t.Cleanup(func() {
		if m.exited != nil {
			m.kill()
		}
	})
	return m
}
