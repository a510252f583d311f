package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// pki is an authority of Go's making, good and bad certificates included.
type pki struct {
	t   testing.TB
	dir string
	ca  tls.Certificate
}

func newPKI(t testing.TB, dir, name string) *pki {
	t.Helper()
	p := &pki{t: t, dir: dir}
	p.ca = p.sign(name, &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		IsCA:     true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
	return p
}

// issue signs a certificate for this machine that alice may use for everything, unless edited.
func (p *pki) issue(name string, edit func(*x509.Certificate)) tls.Certificate {
	p.t.Helper()
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "alice"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if edit != nil {
		edit(template)
	}
	return p.sign(name, template, &p.ca)
}

func (p *pki) sign(name string, template *x509.Certificate, by *tls.Certificate) tls.Certificate {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(p.t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(p.t, err)
	template.BasicConstraintsValid = true
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Minute)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, parentKey := template, any(key)
	if by != nil {
		parent, parentKey = by.Leaf, by.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	must(p.t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(p.t, err)
	must(p.t, os.WriteFile(p.path(name, "crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	must(p.t, os.WriteFile(p.path(name, "key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	pair, err := tls.LoadX509KeyPair(p.path(name, "crt"), p.path(name, "key"))
	must(p.t, err)
	pair.Leaf, err = x509.ParseCertificate(der)
	must(p.t, err)
	return pair
}

func (p *pki) path(name, extension string) string {
	return filepath.Join(p.dir, name+"."+extension)
}

// revoke writes the list anew.
func (p *pki) revoke(certificates ...tls.Certificate) string {
	p.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range certificates {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, p.ca.Leaf, p.ca.PrivateKey.(*ecdsa.PrivateKey))
	must(p.t, err)
	must(p.t, os.WriteFile(p.path("revoked", "crl"), der, 0o644))
	return p.path("revoked", "crl")
}

func (p *pki) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.ca.Leaf)
	return pool
}

// makeCerts runs the project's own command.
func makeCerts(t testing.TB, dir string, args ...string) {
	t.Helper()
	run(t, "node", append([]string{"../../scripts/make-certs.mjs", dir}, args...)...)
}

// tlsConfig is a client's: an authority, and the pair at path without its extension, if any.
func tlsConfig(t testing.TB, ca, pair string) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(ca)
	must(t, err)
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(text) {
		t.Fatalf("%s holds no certificate", ca)
	}
	if pair != "" {
		c, err := tls.LoadX509KeyPair(pair+".crt", pair+".key")
		must(t, err)
		config.Certificates = []tls.Certificate{c}
	}
	return config
}

// secureCtl types at an etcdctl, of ours or of the reference, over TLS.
func secureCtl(t testing.TB, k kind, args ...string) (string, error) {
	t.Helper()
	words := []string{program(t, "etcdctl")}
	if k == ours && os.Getenv("CONFORMANCE_SELFTEST") == "" {
		words = []string{"node", "../../bin/etcdctl"}
	}
	out, err := exec.Command(words[0], append(words[1:], args...)...).CombinedOutput()
	return string(out), err
}
