package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func get(t testing.TB, url string) string {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// versions waits until every member tells the cluster and the storage version.
func (c *cluster) versions(want string) {
	c.t.Helper()
	var told []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		told = nil
		agree := true
		for _, m := range c.members {
			var v struct{ Etcdserver, Etcdcluster, Storage string }
			body := get(c.t, m.client+"/version")
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				c.t.Fatal(err)
			}
			told = append(told, body)
			s := c.status(m)
			agree = agree && v.Etcdcluster == want && v.Storage == want && s != nil && s.StorageVersion == want
		}
		if agree {
			return
		}
	}
	c.t.Fatalf("not %s after 30 s: %v", want, told)
}

// A downgrade is validated, enabled and cancelled through any member; all members follow.
func TestDowngrade(t *testing.T) {
	for _, kinds := range [][]kind{{reference, reference, reference}, {ours, ours, ours}, {ours, reference, ours}} {
		t.Run(fmt.Sprint(kinds), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, kinds...)
			// The leader decides: in a mixed cluster one of ours.
			c.moveLeader(c.members[0])
			c.versions("3.6.0")
			do := func(m *member, action clientv3.DowngradeAction, version string) string {
				r, err := m.dial().Downgrade(timeout(t), action, version)
				if err != nil {
					return err.Error()
				}
				return r.Version
			}
			expect := func(got, want string) {
				t.Helper()
				if got != want {
					t.Errorf("%q instead of %q", got, want)
				}
			}
			for _, m := range c.members {
				expect(do(m, clientv3.DowngradeValidate, "3.5"), "3.6")
				expect(do(m, clientv3.DowngradeValidate, "3.5.0"), "3.6")
				for _, version := range []string{"3.4", "3.6", "3.7", "2.5", "4.5"} {
					expect(do(m, clientv3.DowngradeValidate, version), "etcdserver: invalid downgrade target version")
					expect(do(m, clientv3.DowngradeEnable, version), "etcdserver: invalid downgrade target version")
				}
				for _, version := range []string{"", "3", "x.y", "3.5.x"} {
					expect(do(m, clientv3.DowngradeValidate, version), "etcdserver: wrong downgrade target version format")
				}
				// Nothing to cancel, and no word of it.
				expect(do(m, clientv3.DowngradeCancel, ""), "3.6")
				expect(get(t, m.peer+"/downgrade/enabled"), "false")
			}
			last := c.members[2]
			expect(do(last, clientv3.DowngradeEnable, "3.5"), "3.6")
			expect(do(c.members[1], clientv3.DowngradeEnable, "3.5"), "etcdserver: cluster has a downgrade job in progress")
			c.versions("3.5.0")
			for _, m := range c.members {
				expect(get(t, m.peer+"/downgrade/enabled"), "true")
				info := c.status(m).DowngradeInfo
				expect(fmt.Sprint(info), fmt.Sprint(&pb.DowngradeInfo{Enabled: true, TargetVersion: "3.5.0"}))
				if !strings.Contains(m.log.String(), "The server is ready to downgrade") {
					t.Errorf("%s does not say that it is ready", m.kind)
				}
				// It serves on, and comes back in the middle of it.
				if _, err := m.dial().Put(timeout(t), "k", "v"); err != nil {
					t.Fatal(err)
				}
			}
			last.kill()
			last.start()
			c.versions("3.5.0")
			expect(do(c.members[0], clientv3.DowngradeValidate, "3.4"), "etcdserver: cluster has a downgrade job in progress")
			expect(do(c.members[1], clientv3.DowngradeCancel, ""), "3.5")
			c.versions("3.6.0")
			for _, m := range c.members {
				expect(get(t, m.peer+"/downgrade/enabled"), "false")
			}
			c.agree()
		})
	}
}
