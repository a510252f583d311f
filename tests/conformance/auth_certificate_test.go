package conformance

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Every call, made by whoever a client certificate names, is answered as the reference does; and a
// token goes before the certificate.
func TestAuthMatrixCertificates(t *testing.T) {
	p := newPKI(t, t.TempDir(), "ca")
	p.issue("server", func(c *x509.Certificate) { c.Subject = pkix.Name{} })
	names := []string{"root", "reader", "writer", "both", "bare", "silent", "stranger"}
	for _, name := range names {
		p.issue(name, func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name} })
	}
	targets := map[kind]map[string]*authTarget{}
	for _, k := range []kind{reference, ours} {
		m := &member{t: t, kind: k, dataDir: t.TempDir(),
			client: fmt.Sprintf("https://127.0.0.1:%d", freePort(t)), peer: fmt.Sprintf("http://127.0.0.1:%d", freePort(t))}
		m.flags = append([]string{"--initial-advertise-peer-urls=" + m.peer, "--initial-cluster=default=" + m.peer}, authFlags...)
		m.tlsFlags = []string{"--cert-file=" + p.path("server", "crt"), "--key-file=" + p.path("server", "key"),
			"--trusted-ca-file=" + p.path("ca", "crt"), "--client-cert-auth"}
		m.start()
		t.Cleanup(m.kill)
		targets[k] = map[string]*authTarget{}
		for _, name := range names {
			config := tlsConfig(t, p.path("ca", "crt"), strings.TrimSuffix(p.path(name, "crt"), ".crt"))
			conn, err := grpc.NewClient(strings.TrimPrefix(m.client, "https://"),
				grpc.WithTransportCredentials(credentials.NewTLS(config)))
			must(t, err)
			t.Cleanup(func() { conn.Close() })
			targets[k][name] = &authTarget{t: t, member: m, conn: conn, tokens: map[string]string{}}
		}
		cl, err := clientv3.New(clientv3.Config{Endpoints: []string{m.client}, Logger: zap.NewNop(),
			TLS: tlsConfig(t, p.path("ca", "crt"), strings.TrimSuffix(p.path("root", "crt"), ".crt"))})
		must(t, err)
		defer cl.Close()
		targets[k]["root"].setUp(cl)
		reader := targets[k]["root"].login("reader")
		for _, name := range names {
			targets[k][name].tokens["reader"] = reader
		}
	}
	calls := append(kvCalls(), leaseCalls()...)
	calls = append(calls, maintenanceCalls()...)
	calls = append(calls, clusterCalls()...)
	calls = append(calls, adminCalls()...)
	calls = append(calls, watchCalls()...)
	for _, name := range names {
		for _, c := range calls {
			want, got := targets[reference][name].ask(c, "nobody"), targets[ours][name].ask(c, "nobody")
			if want != got {
				t.Errorf("%s with the certificate of %s:\n reference %s\n      ours %s", c.name, name, want, got)
			}
		}
		for _, c := range watchCalls() {
			for _, identity := range []string{"reader", "bad token"} {
				want, got := targets[reference][name].ask(c, identity), targets[ours][name].ask(c, identity)
				if want != got {
					t.Errorf("%s with the certificate of %s and %s's token:\n reference %s\n      ours %s", c.name, name, identity, want, got)
				}
			}
		}
	}
	t.Logf("%d calls with %d certificates", len(calls), len(names))
}
