package conformance

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Three members over TLS with certificates of the project's own command, users by certificate and
// by password, driven by Go's client and by both etcdctls.
func TestTLSCluster(t *testing.T) {
	for _, kinds := range [][]kind{{ours, ours, ours}, {reference, ours, reference}} {
		t.Run(fmt.Sprint(kinds), func(t *testing.T) {
			certs := t.TempDir()
			makeCerts(t, certs, "--member=m0=127.0.0.1", "--member=m1", "--member=m2", "--client=root", "--client=alice")
			ca, clients := filepath.Join(certs, "ca.crt"), filepath.Join(certs, "clients")
			c := newClusterOver(t, "https", func(m *member, i int) {
				own := filepath.Join(certs, "members", fmt.Sprintf("m%d", i))
				m.tls = tlsConfig(t, ca, filepath.Join(clients, "root"))
				m.tlsFlags = []string{
					"--cert-file=" + own + "/server.crt", "--key-file=" + own + "/server.key",
					"--trusted-ca-file=" + ca, "--client-cert-auth", "--client-crl-file=" + certs + "/revoked.crl",
					"--peer-cert-file=" + own + "/peer.crt", "--peer-key-file=" + own + "/peer.key",
					"--peer-trusted-ca-file=" + ca, "--peer-client-cert-auth", "--peer-crl-file=" + certs + "/revoked.crl",
					fmt.Sprintf("--peer-cert-allowed-cn=m0,m1,m2"),
				}
			}, kinds...)
			as := func(k kind, client string, args ...string) string {
				var endpoints []string
				for _, m := range c.members {
					endpoints = append(endpoints, m.client)
				}
				pair := filepath.Join(clients, client)
				out, err := secureCtl(t, k, append([]string{"--endpoints=" + strings.Join(endpoints, ","),
					"--cacert=" + ca, "--cert=" + pair + ".crt", "--key=" + pair + ".key"}, args...)...)
				if err != nil {
					lines := strings.Split(strings.TrimSpace(out), "\n")
					return fmt.Sprintf("%v: %s", err, lines[len(lines)-1])
				}
				return out
			}
			for _, words := range []string{
				"user add root --no-password", "role add root", "user grant-role root root",
				"role add app", "role grant-permission app readwrite app/ --prefix",
				"user add alice --no-password", "user grant-role alice app",
				"user add bob:secret", "user grant-role bob app", "auth enable",
			} {
				if out := as(ours, "root", strings.Fields(words)...); strings.HasPrefix(out, "exit") && words != "role add root" {
					t.Fatalf("%s: %s", words, out)
				}
			}
			var transcripts [2]string
			for i, k := range []kind{reference, ours} {
				for _, line := range []string{
					"alice put app/x 1", "alice get app/x", "alice put other 1", "alice get other",
					"alice user list", "root put other 2", "root get other", "root del other", "root user list",
					"alice --user=bob:secret get app/x --print-value-only", "alice --user=bob:wrong get app/x",
					"root role get app", "root del app/x",
				} {
					words := strings.Fields(line)
					transcripts[i] += fmt.Sprintf("$ %s\n%s", line, as(k, words[0], words[1:]...))
				}
			}
			if transcripts[0] != transcripts[1] {
				t.Errorf("etcdctl prints other things:\nreference:\n%s\nours:\n%s", transcripts[0], transcripts[1])
			}
			if !strings.Contains(transcripts[1], "permission denied") || !strings.Contains(transcripts[1], "app/x\n1\n") {
				t.Errorf("unexpected: %s", transcripts[1])
			}
			if kinds[1] == kinds[2] {
				c.agree()
				return
			}
			for i, m := range c.members {
				c.moveLeader(m)
				c.exercise(fmt.Sprintf("round%d", i))
			}
			c.agree()
			// A member that was away comes back through a snapshot over TLS.
			lagging := c.members[2]
			c.moveLeader(c.members[0])
			lagging.stop()
			cl := c.dial(c.members[:2]...)
			for i := range 400 {
				if _, err := cl.Put(timeout(t), fmt.Sprintf("behind/%d", i), "x"); err != nil {
					t.Fatal(err)
				}
			}
			lagging.start()
			c.agree()
			if !strings.Contains(lagging.log.String(), "applying snapshot") {
				t.Error("caught up without a snapshot")
			}
		})
	}
}

// secureTarget is one listener of one member, and how to see whether it serves.
type secureTarget struct {
	member  *member
	address string
	speak   func(*tls.Conn) error
	// gRPC alone: the reference's library refuses clients that negotiate nothing; ours takes them.
	wantsALPN bool
}

func speakHTTP(path string) func(*tls.Conn) error {
	return func(c *tls.Conn) error {
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && r.StatusCode != 200 {
			err = fmt.Errorf("status %d", r.StatusCode)
		}
		return err
	}
}

// A preface and empty settings; the server's settings come back.
func speakHTTP2(c *tls.Conn) error {
	_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	head := make([]byte, 9)
	_, err := io.ReadFull(c, head)
	return err
}

type listeners map[string]secureTarget

// secureMember has every kind of listener over TLS; split ones are those of a second member.
func secureMember(t *testing.T, k kind, p *pki, flags ...string) listeners {
	t.Helper()
	all := listeners{}
	host := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	for _, split := range []bool{false, true} {
		metrics, split2 := host(), host()
		m := &member{t: t, kind: k, dataDir: t.TempDir(), client: "https://" + host(), peer: "https://" + host()}
		m.tlsFlags = append([]string{
			"--cert-file=" + p.path("server", "crt"), "--key-file=" + p.path("server", "key"),
			"--trusted-ca-file=" + p.path("ca", "crt"), "--client-cert-auth", "--client-crl-file=" + p.path("revoked", "crl"),
			"--peer-cert-file=" + p.path("server", "crt"), "--peer-key-file=" + p.path("server", "key"),
			"--peer-trusted-ca-file=" + p.path("ca", "crt"), "--peer-client-cert-auth", "--peer-crl-file=" + p.path("revoked", "crl"),
			"--initial-advertise-peer-urls=" + m.peer, "--initial-cluster=default=" + m.peer,
		}, flags...)
		prefix := ""
		if split {
			m.flags = []string{"--listen-client-http-urls=https://" + split2}
			all["split-http"] = secureTarget{m, split2, speakHTTP("/health"), false}
			prefix = "split-"
			all["split-client"] = secureTarget{m, m.client[8:], speakHTTP2, true}
		} else {
			m.flags = []string{"--listen-metrics-urls=https://" + metrics}
			all["metrics"] = secureTarget{m, metrics, speakHTTP("/health"), false}
			all["client"] = secureTarget{m, m.client[8:], speakHTTP("/health"), false}
			all["client-h2"] = secureTarget{m, m.client[8:], speakHTTP2, false}
		}
		all[prefix+"peer"] = secureTarget{m, m.peer[8:], speakHTTP("/version"), false}
		m.start()
		t.Cleanup(m.kill)
	}
	return all
}

// refusals are the errors a member has logged for connections it turned away.
func (m *member) refusals() []string {
	var found []string
	for _, line := range strings.Split(m.log.String(), "\n") {
		var event struct {
			Msg   string
			Error string
		}
		if json.Unmarshal([]byte(line), &event) == nil && strings.HasPrefix(event.Msg, "rejected connection on") {
			found = append(found, event.Msg+": "+event.Error)
		}
	}
	return found
}

var (
	remarks = regexp.MustCompile(` \(possibly because.*\)|: current time .* is (after|before) .*|:? \(?\[("none"|302 301)\]\)?|; client offered: .*`)
	serial  = regexp.MustCompile(`serial [0-9a-f]+`)
	lookups = regexp.MustCompile(`"\] \(.*\)`)
)

// plain leaves out of a message what is of no use to compare.
func plain(text string) string {
	text = serial.ReplaceAllString(remarks.ReplaceAllString(text, ""), "serial N")
	return lookups.ReplaceAllString(text, `"]`)
}

// Every bad certificate at every kind of listener: refused or served as by the reference, and logged
// in its words wherever it logs.
func TestTLSRefusals(t *testing.T) {
	p := newPKI(t, t.TempDir(), "ca")
	other := newPKI(t, t.TempDir(), "other")
	p.issue("server", nil)
	revoked := p.issue("revoked", nil)
	p.revoke(revoked)
	own := tls.Certificate{}
	{
		alone := newPKI(t, t.TempDir(), "alone")
		own = alone.ca
	}
	cases := map[string][]tls.Certificate{
		"good":    {p.issue("good", nil)},
		"missing": nil,
		"expired": {p.issue("expired", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		})},
		"too early": {p.issue("early", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		})},
		"other authority": {other.issue("good", nil)},
		"self-signed":     {own},
		"revoked":         {revoked},
		"server usage":    {p.issue("usage", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
		"other address":   {p.issue("address", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, []net.IP{net.IPv4(192, 0, 2, 1)} })},
		"other host":      {p.issue("host", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"elsewhere.invalid"}, nil })},
		"localhost":       {p.issue("localhost", func(c *x509.Certificate) { c.IPAddresses = nil })},
		"no names":        {p.issue("nameless", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil })},
		"other name":      {p.issue("mallory", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "mallory"} })},
	}
	variants := map[string]*tls.Config{
		"":          {},
		"TLS 1.2":   {MaxVersion: tls.VersionTLS12},
		"TLS 1.1":   {MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
		"ALPN h2":   {NextProtos: []string{"h2"}},
		"ALPN http": {NextProtos: []string{"http/1.1"}},
		"ALPN none": {NextProtos: []string{"none"}},
		"distrust":  {RootCAs: other.pool()},
		"CBC":       {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}},
	}
	targets := map[kind]listeners{}
	for _, k := range []kind{reference, ours} {
		targets[k] = secureMember(t, k, p, "--peer-cert-allowed-cn=alice")
	}
	knock := func(at secureTarget, certificates []tls.Certificate, variant *tls.Config) (outcome, alert, logged string) {
		before := len(at.member.refusals())
		config := variant.Clone()
		config.InsecureSkipVerify = config.RootCAs == nil
		config.ServerName = "localhost"
		if at.wantsALPN && config.NextProtos == nil {
			config.NextProtos = []string{"h2"}
		}
		config.Certificates = certificates
		dialer := &net.Dialer{Timeout: 5 * time.Second}
		c, err := tls.DialWithDialer(dialer, "tcp", at.address, config)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			err = at.speak(c)
			c.Close()
		}
		if err == nil {
			return "served", "", ""
		}
		if _, text, ok := strings.Cut(err.Error(), "remote error: "); ok {
			alert = text
		}
		for deadline := time.Now().Add(300 * time.Millisecond); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if now := at.member.refusals(); len(now) > before {
				return "refused", alert, plain(now[before])
			}
		}
		return "refused", alert, ""
	}
	compared, served, alerts, ownAlerts := 0, 0, 0, 0
	for name := range targets[ours] {
		for certificate, pairs := range cases {
			for title, variant := range variants {
				if title != "" && certificate != "good" {
					continue
				}
				if title == "ALPN h2" && strings.Contains(name, "peer") {
					continue // What is negotiated there nobody speaks.
				}
				if title == "ALPN http" && (name == "client-h2" || name == "split-client") {
					continue
				}
				if title == "ALPN h2" && (name == "client" || name == "split-http" || name == "metrics") {
					continue
				}
				outcome, alert, logged := knock(targets[reference][name], pairs, variant)
				got, ownAlert, own := knock(targets[ours][name], pairs, variant)
				compared++
				if alert != "" {
					alerts++
				}
				if ownAlert != "" {
					ownAlerts++
				}
				if outcome == "served" {
					served++
				}
				if got != outcome {
					t.Errorf("%s, %s %s: %s by the reference, %s by ours (%s)", name, certificate, title, outcome, got, own)
				} else if ownAlert != alert && (ownAlert != "" || alert == "tls: certificate required") {
					t.Errorf("%s, %s %s: the client is told %q by the reference, %q by ours", name, certificate, title, alert, ownAlert)
				} else if logged != "" && own != logged {
					t.Errorf("%s, %s %s: the reference logs\n%s\nours\n%s", name, certificate, title, logged, own)
				}
			}
		}
	}
	// Ours sends none for a certificate that OpenSSL or the member found wrong: the connection is just closed.
	t.Logf("%d knocks, %d served; alerts: %d by the reference, %d by ours", compared, served, alerts, ownAlerts)
	// Plain text where TLS is spoken.
	for _, name := range []string{"client", "peer", "metrics", "split-http"} {
		var answers [2]string
		for i, k := range []kind{reference, ours} {
			c, err := net.Dial("tcp", targets[k][name].address)
			must(t, err)
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
			text, _ := io.ReadAll(c)
			c.Close()
			answers[i] = fmt.Sprintf("HTTP %v", strings.Contains(string(text), "HTTP"))
		}
		if answers[0] != answers[1] {
			t.Errorf("plain text at %s: reference %s, ours %s", name, answers[0], answers[1])
		}
	}
}

// Common names are users on gRPC, and refused by the gateway; hosts are no question over TLS.
func TestTLSCommonNames(t *testing.T) {
	p := newPKI(t, t.TempDir(), "ca")
	// Its gateway dials the reference with this certificate, and would be the user it names.
	p.issue("server", func(c *x509.Certificate) { c.Subject = pkix.Name{} })
	p.issue("root", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "root"} })
	p.issue("alice", nil)
	p.issue("stranger", func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "stranger"} })
	p.issue("nobody", func(c *x509.Certificate) { c.Subject = pkix.Name{} })
	var answers [2][]string
	for i, k := range []kind{reference, ours} {
		m := &member{t: t, kind: k, dataDir: t.TempDir(),
			client: fmt.Sprintf("https://127.0.0.1:%d", freePort(t)), peer: fmt.Sprintf("http://127.0.0.1:%d", freePort(t))}
		m.flags = []string{"--host-whitelist=good.example", "--initial-advertise-peer-urls=" + m.peer, "--initial-cluster=default=" + m.peer}
		m.tlsFlags = []string{"--cert-file=" + p.path("server", "crt"), "--key-file=" + p.path("server", "key"),
			"--trusted-ca-file=" + p.path("ca", "crt"), "--client-cert-auth"}
		as := func(name string) *clientv3.Client {
			cl, err := clientv3.New(clientv3.Config{Endpoints: []string{m.client}, DialTimeout: 10 * time.Second, Logger: zap.NewNop(),
				TLS: tlsConfig(t, p.path("ca", "crt"), strings.TrimSuffix(p.path(name, "crt"), ".crt"))})
			must(t, err)
			t.Cleanup(func() { cl.Close() })
			return cl
		}
		m.start()
		t.Cleanup(m.kill)
		say := func(what string, err error) { answers[i] = append(answers[i], fmt.Sprintf("%s: %v", what, err)) }
		ask := func(name, method, path, host, body string) {
			config := tlsConfig(t, p.path("ca", "crt"), strings.TrimSuffix(p.path(name, "crt"), ".crt"))
			for _, h2 := range []bool{false, true} {
				// A transport of one's own speaks HTTP/1.1 unless it is told otherwise.
				transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: h2}
				r, err := http.NewRequest(method, m.client+path, strings.NewReader(body))
				must(t, err)
				if host != "" {
					r.Host = host
				}
				answer, err := transport.RoundTrip(r)
				must(t, err)
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				transport.CloseIdleConnections()
				// protojson puts blanks where it likes.
				text = []byte(strings.ReplaceAll(string(text), `, "`, `,"`))
				if answer.StatusCode == 200 || answer.StatusCode == 403 {
					text = nil // What it answers others compare.
				}
				answers[i] = append(answers[i], fmt.Sprintf("%s %s %s as %s h2=%v: %d %s", method, path, host, name, h2, answer.StatusCode, text))
			}
		}
		root := as("root")
		must(t, last(root.UserAddWithOptions(timeout(t), "root", "", &clientv3.UserAddOptions{NoPassword: true})))
		must(t, last(root.RoleAdd(timeout(t), "root")))
		must(t, last(root.UserGrantRole(timeout(t), "root", "root")))
		must(t, last(root.UserAddWithOptions(timeout(t), "alice", "", &clientv3.UserAddOptions{NoPassword: true})))
		must(t, last(root.RoleAdd(timeout(t), "app")))
		must(t, last(root.RoleGrantPermission(timeout(t), "app", "app/", "app0", clientv3.PermissionType(clientv3.PermReadWrite))))
		must(t, last(root.UserGrantRole(timeout(t), "alice", "app")))
		for range 2 {
			for _, name := range []string{"root", "alice", "stranger", "nobody"} {
				cl := as(name)
				if name == "nobody" {
					// A certificate without a name is nobody to ours, and a user without a name to the reference.
					_, one := cl.Put(timeout(t), "app/x", "1")
					_, two := cl.UserList(timeout(t))
					say(name+" is refused", fmt.Errorf("%v %v", one != nil, two != nil))
					continue
				}
				say(name+" puts app/x", last(cl.Put(timeout(t), "app/x", "1")))
				say(name+" puts y", last(cl.Put(timeout(t), "y", "1")))
				say(name+" lists users", last(cl.UserList(timeout(t))))
				ask(name, "POST", "/v3/kv/range", "", `{"key":"YXBwL3g="}`)
				ask(name, "POST", "/v3beta/kv/range", "", `{"key":"YXBwL3g="}`)
				ask(name, "GET", "/v3/", "", "")
				ask(name, "GET", "/health", "", "")
				ask(name, "GET", "/version", "evil.example", "")
				ask(name, "OPTIONS", "/v3/kv/range", "", "")
			}
			if _, err := root.AuthEnable(timeout(t)); err != nil && err != rpctypes.ErrAuthNotEnabled {
				t.Logf("%v", err)
			}
		}
		m.stop()
	}
	for i := range answers[0] {
		if i >= len(answers[1]) || answers[0][i] != answers[1][i] {
			t.Errorf("reference %s\n     ours %s", answers[0][i], answers[1][i])
		}
	}
	t.Logf("%d answers", len(answers[0]))
}

func last[T any](_ T, err error) error { return err }

// Members that make their own certificates form one cluster, with certificates of the same making.
func TestTLSAuto(t *testing.T) {
	c := newClusterOver(t, "https", func(m *member, _ int) {
		m.tls = &tls.Config{InsecureSkipVerify: true}
		m.tlsFlags = []string{"--auto-tls", "--peer-auto-tls", "--self-signed-cert-validity=3"}
	}, reference, ours, ours)
	c.exercise("auto")
	c.agree()
	for _, side := range []string{"client", "peer"} {
		var seen []string
		for _, m := range c.members[:2] {
			text, err := os.ReadFile(filepath.Join(m.dataDir, "fixtures", side, "cert.pem"))
			must(t, err)
			block, rest := pem.Decode(text)
			cert, err := x509.ParseCertificate(block.Bytes)
			must(t, err)
			key, err := os.ReadFile(filepath.Join(m.dataDir, "fixtures", side, "key.pem"))
			must(t, err)
			keyBlock, _ := pem.Decode(key)
			mode, err := os.Stat(filepath.Join(m.dataDir, "fixtures", side, "key.pem"))
			must(t, err)
			seen = append(seen, fmt.Sprintf("%s %s %v %v %v %v %v %v %v ca=%v %s %d %v rest=%d",
				cert.Subject, cert.Issuer, cert.SignatureAlgorithm, cert.PublicKeyAlgorithm, cert.KeyUsage, cert.ExtKeyUsage,
				cert.DNSNames, cert.IPAddresses, cert.NotAfter.Sub(cert.NotBefore), cert.IsCA,
				keyBlock.Type, len(keyBlock.Bytes), mode.Mode(), len(rest)))
		}
		if seen[0] != seen[1] {
			t.Errorf("%s certificates:\nreference %s\n     ours %s", side, seen[0], seen[1])
		}
	}
	// They are used again, also by the other program.
	for _, m := range c.members[:2] {
		before, _ := os.ReadFile(filepath.Join(m.dataDir, "fixtures", "peer", "cert.pem"))
		m.swap(map[kind]kind{ours: reference, reference: ours}[m.kind])
		after, _ := os.ReadFile(filepath.Join(m.dataDir, "fixtures", "peer", "cert.pem"))
		if string(before) != string(after) {
			t.Errorf("%s made another certificate", m.kind)
		}
	}
	c.leader()
	c.exercise("swapped")
	c.agree()
}

// What kubeadm tells etcd, with the files it would make.
func TestTLSKubeadm(t *testing.T) {
	certs := t.TempDir()
	makeCerts(t, certs, "--kubeadm=node-1=127.0.0.1")
	file := func(name string) string { return filepath.Join(certs, name) }
	for _, k := range []kind{reference, ours} {
		m := &member{t: t, kind: k, dataDir: t.TempDir(),
			client: fmt.Sprintf("https://127.0.0.1:%d", freePort(t)), peer: fmt.Sprintf("https://127.0.0.1:%d", freePort(t))}
		metrics := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
		m.flags = []string{"--name=node-1", "--initial-advertise-peer-urls=" + m.peer, "--initial-cluster=node-1=" + m.peer,
			"--listen-metrics-urls=" + metrics, "--snapshot-count=10000",
			"--experimental-initial-corrupt-check=true", "--experimental-watch-progress-notify-interval=5s",
			"--cert-file=" + file("etcd/server.crt"), "--key-file=" + file("etcd/server.key"),
			"--trusted-ca-file=" + file("etcd/ca.crt"), "--client-cert-auth=true",
			"--peer-cert-file=" + file("etcd/peer.crt"), "--peer-key-file=" + file("etcd/peer.key"),
			"--peer-trusted-ca-file=" + file("etcd/ca.crt"), "--peer-client-cert-auth=true"}
		m.start()
		t.Cleanup(m.kill)
		for _, name := range []string{"etcd/healthcheck-client", "apiserver-etcd-client", "etcd/server"} {
			m.tls = tlsConfig(t, file("etcd/ca.crt"), file(name))
			if _, err := m.dial().Put(timeout(t), "k", name); err != nil {
				t.Errorf("%s: %s: %v", k, name, err)
			}
		}
		r, err := http.Get(metrics + "/health?serializable=true")
		must(t, err)
		r.Body.Close()
		if r.StatusCode != 200 {
			t.Errorf("%s: health %d", k, r.StatusCode)
		}
		m.stop()
	}
}

// What the two etcdctls say to a server they cannot trust, and to one that does not speak their language.
func TestTLSBadServers(t *testing.T) {
	p := newPKI(t, t.TempDir(), "ca")
	other := newPKI(t, t.TempDir(), "other")
	p.issue("expired", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	p.issue("elsewhere", func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"elsewhere.invalid"}, nil })
	p.issue("good", nil)
	other.issue("good", nil)
	for name, pair := range map[string]string{
		"expired": p.path("expired", ""), "elsewhere": p.path("elsewhere", ""), "other authority": other.path("good", ""), "plain": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scheme, flags := "https", []string{"--cert-file=" + pair + "crt", "--key-file=" + pair + "key"}
			if pair == "" {
				scheme, flags = "http", nil
			}
			m := &member{t: t, kind: ours, dataDir: t.TempDir(), client: fmt.Sprintf("%s://127.0.0.1:%d", scheme, freePort(t)),
				peer: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), tlsFlags: flags}
			m.flags = []string{"--initial-advertise-peer-urls=" + m.peer, "--initial-cluster=default=" + m.peer}
			m.start()
			t.Cleanup(m.kill)
			var said [2]string
			for i, k := range []kind{reference, ours} {
				for _, words := range []string{"get k", "endpoint health"} {
					args := append([]string{"--endpoints=" + strings.Replace(m.client, "http:", "https:", 1), "--cacert=" + p.path("ca", "crt"),
						"--dial-timeout=1s", "--command-timeout=1s"}, strings.Fields(words)...)
					out, err := secureCtl(t, k, args...)
					lines := strings.Split(strings.TrimSpace(out), "\n")
					said[i] += fmt.Sprintf("%s: %v %s\n", words, err, plain(lines[len(lines)-1]))
				}
			}
			if said[0] != said[1] {
				t.Errorf("%s:\nreference\n%sours\n%s", name, said[0], said[1])
			}
			m.stop()
		})
	}
}
