package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// kind tells whose server a member runs.
type kind string

const (
	ours      kind = "etcd-ts"
	reference kind = "reference"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 30 * time.Second
)

// program returns the path of a reference program built by `run`.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("bin", name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: start the suite with tests/conformance/run", err)
	}
	return path
}

func serverCommand(t testing.TB, k kind) []string {
	t.Helper()
	// With CONFORMANCE_SELFTEST both sides are the reference, which shows that a test asks for no
	// more than the reference gives.
	if k == reference || os.Getenv("CONFORMANCE_SELFTEST") != "" {
		return []string{program(t, "etcd")}
	}
	path, err := filepath.Abs("../../bin/etcd")
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]string{"node"}, strings.Fields(os.Getenv("CONFORMANCE_NODE_FLAGS"))...), path)
}

// member is one server process on a data directory.
type member struct {
	t       testing.TB
	kind    kind
	dataDir string
	client  string
	peer    string
	flags   []string
	// For the URLs that are https, and what its clients use then.
	tlsFlags []string
	tls      *tls.Config

	process *exec.Cmd
	log     *syncBuffer
	exited  chan struct{}
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// newMember starts a member of its own cluster and stops it with the test.
func newMember(t testing.TB, k kind, dataDir string, flags ...string) *member {
	t.Helper()
	m := &member{
		t:       t,
		kind:    k,
		dataDir: dataDir,
		client:  fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		peer:    fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		flags:   flags,
	}
	m.start()
	t.Cleanup(func() { m.kill() })
	return m
}

// settle waits until a member of 3.6 has said which version its cluster and its files are of, which
// it finds out after it began to serve. It is asked by the name of a host that it listens to.
func (m *member) settle(host string) {
	m.t.Helper()
	request, err := http.NewRequest("GET", m.client+"/version", nil)
	must(m.t, err)
	request.Host = host
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		if response, err := http.DefaultClient.Do(request); err == nil {
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if strings.Contains(string(body), `"storage":"3.6.0"`) {
				return
			}
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s never told its versions", m.kind)
		}
	}
}

func (m *member) start() {
	m.t.Helper()
	if err := m.tryStart(); err != nil {
		m.t.Fatal(err)
	}
}

// tryStart starts the process and waits until it serves.
func (m *member) tryStart() error {
	args := append(serverCommand(m.t, m.kind),
		"--data-dir="+m.dataDir,
		"--listen-client-urls="+m.client, "--advertise-client-urls="+m.client,
		"--listen-peer-urls="+m.peer,
	)
	args = append(append(args, m.tlsFlags...), m.flags...)
	m.log = &syncBuffer{}
	m.process = exec.Command(args[0], args[1:]...)
	m.process.Stdout, m.process.Stderr = m.log, m.log
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.process.Start(); err != nil {
		return err
	}
	m.exited = make(chan struct{})
	go func(p *exec.Cmd, exited chan struct{}) {
		_ = p.Wait()
		close(exited)
	}(m.process, m.exited)
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		select {
		case <-m.exited:
			return fmt.Errorf("%s exited at start:\n%s", m.kind, m.log)
		case <-time.After(20 * time.Millisecond):
		}
		if strings.Contains(m.log.String(), "ready to serve client requests") && m.accepts() {
			return nil
		}
	}
	m.kill()
	return fmt.Errorf("%s did not become ready:\n%s", m.kind, m.log)
}

func (m *member) accepts() bool {
	c, err := net.DialTimeout("tcp", m.client[strings.LastIndex(m.client, "/")+1:], time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// kill ends the process at once, as kill -9 does.
func (m *member) kill() {
	select {
	case <-m.exited:
		return
	default:
	}
	_ = m.process.Process.Kill()
	<-m.exited
}

// stop ends the process as an operator does.
func (m *member) stop() {
	m.t.Helper()
	_ = m.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.exited:
	case <-time.After(stopTimeout):
		m.kill()
		m.t.Fatalf("%s did not stop:\n%s", m.kind, m.log)
	}
}

// swap stops the member and goes on with the other program on the same directory.
func (m *member) swap(k kind) {
	m.t.Helper()
	m.stop()
	m.kind = k
	m.start()
}

func (m *member) dial() *clientv3.Client {
	m.t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{m.client},
		DialTimeout: 10 * time.Second,
		Logger:      zap.NewNop(),
		TLS:         m.tls,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Close() })
	return c
}

func timeout(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// hashKV is what two members must agree on: hash, compact revision, and the revision it is at.
func (m *member) hashKV(revision int64) string {
	m.t.Helper()
	r, err := m.dial().HashKV(timeout(m.t), strings.TrimPrefix(m.client, "http://"), revision)
	if err != nil {
		m.t.Fatalf("%s HashKV: %v", m.kind, err)
	}
	return fmt.Sprintf("hash=%d compact=%d at=%d current=%d",
		r.Hash, r.CompactRevision, r.HashRevision, r.Header.Revision)
}

// run runs a program to its end and returns what it printed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
