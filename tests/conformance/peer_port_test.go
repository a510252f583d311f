package conformance

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// target is a member whose peer port is asked, and what a peer of it would know.
type target struct {
	*member
	clusterID, memberID, removedID uint64
}

// newTarget starts a member that once had a second one, which never ran.
func newTarget(t *testing.T, k kind) *target {
	m := newMember(t, k, t.TempDir(), "--name=m0")
	cl := m.dial()
	added, err := cl.MemberAddAsLearner(timeout(t), []string{"http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.MemberRemove(timeout(t), added.Member.ID); err != nil {
		t.Fatal(err)
	}
	return &target{m, added.Header.ClusterId, added.Header.MemberId, added.Member.ID}
}

// names replaces what differs from one member to the next.
func (m *target) names(text string) string {
	return strings.NewReplacer(
		fmt.Sprintf("%x", m.clusterID), "CLUSTER", fmt.Sprintf("%x", m.memberID), "MEMBER",
		fmt.Sprintf("%x", m.removedID), "REMOVED", fmt.Sprint(m.memberID), "MEMBER",
		m.client, "CLIENT", m.peer, "PEER",
	).Replace(text)
}

func (m *target) message(change func(*raftpb.Message)) []byte {
	message := raftpb.Message{Type: raftpb.MsgHeartbeatResp, From: 0x77, To: m.memberID, Term: 1}
	change(&message)
	return marshal(message)
}

func marshal(message raftpb.Message) []byte {
	data, err := message.Marshal()
	if err != nil {
		panic(err)
	}
	return data
}

// framed is a message as it stands in front of a database.
func framed(message raftpb.Message) []byte {
	data := marshal(message)
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(data))), data...)
}

// ask sends a request and returns status, headers that peers act on, and body.
func (m *target) ask(t *testing.T, method, path string, headers map[string]string, body io.Reader, length int64) string {
	t.Helper()
	request, err := http.NewRequestWithContext(timeout(t), method, m.peer+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if length > 0 {
		request.ContentLength = length
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	r, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return "no answer"
	}
	defer r.Body.Close()
	told := []string{fmt.Sprint(r.StatusCode)}
	for _, name := range []string{"X-Etcd-Cluster-Id", "X-Server-Version", "Allow", "Content-Type", "X-Content-Type-Options"} {
		if value := r.Header.Get(name); value != "" {
			told = append(told, name+": "+value)
		}
	}
	text := ""
	// A stream that was opened has no end.
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(path, "/raft/stream/") {
		all, err := io.ReadAll(r.Body)
		// The reference breaks off some answers, where ours closes the connection after them.
		if text = string(all); err != nil && text == "" {
			text = "(broken off)"
		}
	}
	return m.names(strings.Join(append(told, text), "\n"))
}

// peerRequest is one thing somebody may send to a peer port.
type peerRequest struct {
	name, method, path string
	headers            map[string]string
	body               func(m *target) []byte
	// The length the header tells, beyond what is sent before the connection is closed.
	cutOff int64
}

// Whatever comes to a peer port is answered alike by both, and both go on.
func TestPeerPort(t *testing.T) {
	identity := func(m *target, changes map[string]string) map[string]string {
		headers := map[string]string{
			"X-Server-From":         fmt.Sprintf("%x", uint64(0x77)),
			"X-Server-Version":      "3.6.14",
			"X-Min-Cluster-Version": "3.0.0",
			"X-Etcd-Cluster-ID":     fmt.Sprintf("%x", m.clusterID),
		}
		for name, value := range changes {
			value = strings.NewReplacer("MEMBER", fmt.Sprintf("%x", m.memberID), "REMOVED", fmt.Sprintf("%x", m.removedID)).Replace(value)
			if headers[name] = value; value == "" {
				delete(headers, name)
			}
		}
		return headers
	}
	good := func(m *target) []byte { return m.message(func(*raftpb.Message) {}) }
	text := func(s string) func(*target) []byte { return func(*target) []byte { return []byte(s) } }
	snapshot := func(change func(*target, *raftpb.Message), database string) func(*target) []byte {
		return func(m *target) []byte {
			message := raftpb.Message{Type: raftpb.MsgSnap, From: 0x77, To: m.memberID, Term: 1, Snapshot: &raftpb.Snapshot{
				Data: []byte("{}"), Metadata: raftpb.SnapshotMetadata{Index: 1, Term: 1}}}
			change(m, &message)
			return append(framed(message), database...)
		}
	}
	requests := []peerRequest{
		{name: "a message", method: "POST", path: "/raft", body: good},
		{name: "not a message", method: "POST", path: "/raft", body: text("garbage")},
		{name: "nothing", method: "POST", path: "/raft", body: text("")},
		{name: "a message from a removed member", method: "POST", path: "/raft", body: func(m *target) []byte {
			return m.message(func(r *raftpb.Message) { r.From = m.removedID })
		}},
		{name: "a message to somebody else", method: "POST", path: "/raft", body: func(m *target) []byte {
			return m.message(func(r *raftpb.Message) { r.To = 9 })
		}},
		{name: "a message cut off", method: "POST", path: "/raft", body: good, cutOff: 10},
		{name: "a snapshot that is none", method: "POST", path: "/raft/snapshot", body: text("garbage!garbage!")},
		{name: "an empty snapshot", method: "POST", path: "/raft/snapshot", body: text("")},
		{name: "a snapshot with a huge message", method: "POST", path: "/raft/snapshot", body: func(*target) []byte {
			return binary.BigEndian.AppendUint64(nil, 64<<20+1)
		}},
		{name: "a snapshot with less message than it says", method: "POST", path: "/raft/snapshot", body: func(*target) []byte {
			return append(binary.BigEndian.AppendUint64(nil, 100), "short"...)
		}},
		{name: "another message where a snapshot should be", method: "POST", path: "/raft/snapshot",
			body: snapshot(func(_ *target, r *raftpb.Message) { r.Type = raftpb.MsgApp }, "")},
		{name: "a snapshot cut off", method: "POST", path: "/raft/snapshot",
			body: snapshot(func(*target, *raftpb.Message) {}, "database"), cutOff: 1 << 20},
		{name: "a snapshot for somebody else", method: "POST", path: "/raft/snapshot",
			body: snapshot(func(_ *target, r *raftpb.Message) { r.To = 9 }, "")},
		{name: "a snapshot from a removed member", method: "POST", path: "/raft/snapshot",
			body: snapshot(func(m *target, r *raftpb.Message) { r.From = m.removedID }, "")},
		{name: "an unknown stream", method: "GET", path: "/raft/stream/other/77"},
		{name: "a stream to nobody", method: "GET", path: "/raft/stream/message/zz"},
		{name: "a stream to a removed member", method: "GET", path: "/raft/stream/message/REMOVED"},
		{name: "a stream to a stranger", method: "GET", path: "/raft/stream/msgapp/99"},
		{name: "a stream without a name", method: "GET", path: "/raft/stream/message/"},
		{name: "members", method: "GET", path: "/members"},
		{name: "members changed", method: "POST", path: "/members"},
		{name: "below members", method: "GET", path: "/members/x"},
		{name: "promotion of nobody", method: "POST", path: "/members/promote/1"},
		{name: "promotion of garbage", method: "POST", path: "/members/promote/x"},
		{name: "promotion of a voter", method: "POST", path: "/members/promote/SELF"},
		{name: "promotion asked for", method: "GET", path: "/members/promote/1"},
		{name: "hash", method: "GET", path: "/members/hashkv", body: text(`{"revision":1}`)},
		{name: "hash of the future", method: "GET", path: "/members/hashkv", body: text(`{"revision":99}`)},
		{name: "hash of garbage", method: "GET", path: "/members/hashkv", body: text(`garbage`)},
		{name: "hash posted", method: "POST", path: "/members/hashkv", body: text(`{"revision":1}`)},
		{name: "hash of another cluster", method: "GET", path: "/members/hashkv", body: text(`{"revision":1}`),
			headers: map[string]string{"X-Etcd-Cluster-ID": "1"}},
		{name: "leases of garbage", method: "POST", path: "/leases", body: text("garbage")},
		{name: "an unknown lease", method: "POST", path: "/leases", body: text("\x08\x01")},
		{name: "leases read", method: "GET", path: "/leases"},
		{name: "many leases", method: "POST", path: "/leases", body: text(strings.Repeat("x", 64<<10+1))},
		{name: "an unknown lease inside", method: "POST", path: "/leases/internal", body: text("\x0a\x02\x08\x01")},
		{name: "leases inside of garbage", method: "POST", path: "/leases/internal", body: text("garbage")},
		{name: "below leases", method: "POST", path: "/leases/x"},
		{name: "downgrade", method: "GET", path: "/downgrade/enabled"},
		{name: "downgrade posted", method: "POST", path: "/downgrade/enabled"},
		{name: "version", method: "GET", path: "/version"},
		{name: "version posted", method: "POST", path: "/version"},
		{name: "root", method: "GET", path: "/"},
		{name: "metrics", method: "GET", path: "/metrics"},
		{name: "health", method: "GET", path: "/health"},
		{name: "keys", method: "GET", path: "/v2/keys"},
	}
	for _, endpoint := range []peerRequest{
		{name: "raft", method: "POST", path: "/raft", body: good},
		{name: "snapshot", method: "POST", path: "/raft/snapshot", body: text("")},
		{name: "stream", method: "GET", path: "/raft/stream/message/77"},
	} {
		for name, headers := range map[string]map[string]string{
			"of another cluster":            {"X-Etcd-Cluster-ID": "1"},
			"of no cluster":                 {"X-Etcd-Cluster-ID": ""},
			"of version 2":                  {"X-Server-Version": "2.3.8", "X-Min-Cluster-Version": "2.1.0"},
			"of no version":                 {"X-Server-Version": "", "X-Min-Cluster-Version": ""},
			"that wants 3.7":                {"X-Min-Cluster-Version": "3.7.0"},
			"of version 3.5":                {"X-Server-Version": "3.5.21"},
			"of version 4":                  {"X-Server-Version": "4.0.0"},
			"of version 2 and elsewhere":    {"X-Server-Version": "2.3.8", "X-Etcd-Cluster-ID": "1"},
			"with the wrong method":         {"method": "PUT"},
			"of a removed member":           {"X-Server-From": "REMOVED"},
			"of a stranger who has an URL":  {"X-PeerURLs": "http://127.0.0.1:1"},
			"of a stranger with a bad name": {"X-Server-From": "zz", "X-PeerURLs": "http://127.0.0.1:1"},
		} {
			request := endpoint
			request.name = endpoint.name + " " + name
			if method, ok := headers["method"]; ok {
				request.method, headers = method, nil
			}
			request.headers = headers
			requests = append(requests, request)
		}
	}
	answers := beside(t, func(t *testing.T, k kind) map[string]string {
		m := newTarget(t, k)
		answers := map[string]string{}
		for _, r := range requests {
			var body io.Reader = http.NoBody
			length := int64(0)
			if r.body != nil {
				data := r.body(m)
				body, length = bytes.NewReader(data), int64(len(data))
			}
			path := strings.NewReplacer("REMOVED", fmt.Sprintf("%x", m.removedID), "SELF", fmt.Sprint(m.memberID)).Replace(r.path)
			if r.cutOff > 0 {
				answers[r.name] = m.cutOff(t, r, path, identity(m, r.headers))
				continue
			}
			answers[r.name] = m.ask(t, r.method, path, identity(m, r.headers), body, length)
		}
		m.survives(t)
		m.garbage(t)
		m.survives(t)
		// The reference takes the end of the connection for the end of the database, and keeps it.
		left, err := filepath.Glob(filepath.Join(m.dataDir, "member/snap/*.snap.db"))
		if err != nil || k == ours && len(left) > 0 {
			t.Errorf("%s kept %v %v", k, left, err)
		}
		return answers
	})
	for _, r := range requests {
		if our, their := answers[ours][r.name], answers[reference][r.name]; our != their {
			t.Errorf("%s: ours answers\n%s\nthe reference\n%s", r.name, our, their)
		}
	}
}

// cutOff sends less than it says and closes the connection; what matters is what comes after.
func (m *target) cutOff(t *testing.T, r peerRequest, path string, headers map[string]string) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(m.peer, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	data := r.body(m)
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: peer\r\nContent-Length: %d\r\n", r.method, path, int64(len(data))+r.cutOff)
	for name, value := range headers {
		fmt.Fprintf(c, "%s: %s\r\n", name, value)
	}
	fmt.Fprint(c, "\r\n")
	c.Write(data)
	time.Sleep(100 * time.Millisecond)
	c.Close()
	return ""
}

// garbage sends what is no HTTP, and an upgrade to HTTP/2.
func (m *target) garbage(t *testing.T) {
	t.Helper()
	for _, bytes := range []string{
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00\x00\x00\x00\x00\x00\x00\x00", "GET /raft HTTP/9.9\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "POST /raft HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"POST /raft HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n",
		strings.Repeat("A", 1<<20),
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(m.peer, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, bytes)
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		bufio.NewReader(c).ReadString(0)
		c.Close()
	}
}

func (m *target) survives(t *testing.T) {
	t.Helper()
	select {
	case <-m.exited:
		t.Fatalf("%s is gone:\n%s", m.kind, m.log)
	default:
	}
	if _, err := m.dial().Put(timeout(t), "k", "v"); err != nil {
		t.Fatalf("%s: %v", m.kind, err)
	}
	var list *clientv3.MemberListResponse
	list, err := m.dial().MemberList(timeout(t))
	if err != nil || len(list.Members) != 1 {
		t.Fatalf("%s has the members %v %v", m.kind, list, err)
	}
}
