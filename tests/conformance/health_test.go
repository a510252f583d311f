package conformance

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// What is asked of a member in each state. The order of lines is not promised.
var healthQuestions = []string{
	"GET /health", "GET /health?serializable=true", "GET /health?serializable=false", "GET /health?exclude=NOSPACE",
	"GET /health?exclude=CORRUPT", "GET /health?exclude=NOSPACE&exclude=CORRUPT", "GET /health?exclude=", "HEAD /health", "POST /health",
	"GET /livez", "GET /livez?verbose", "GET /livez?exclude=serializable_read&verbose", "GET /livez/serializable_read",
	"GET /livez/linearizable_read", "POST /livez",
	"GET /readyz", "GET /readyz?verbose", "GET /readyz?verbose=false", "GET /readyz?exclude=linearizable_read",
	"GET /readyz?exclude=linearizable_read&exclude=non_learner&verbose", "GET /readyz?exclude=nonsense&verbose",
	"GET /readyz?exclude=data_corruption", "GET /readyz/data_corruption", "GET /readyz/serializable_read",
	"GET /readyz/linearizable_read", "GET /readyz/linearizable_read?exclude=linearizable_read", "GET /readyz/non_learner?verbose",
	"GET /readyz/nonsense", "GET /readyz/", "PUT /readyz/non_learner",
}

func (m *member) health(t *testing.T) map[string]string {
	t.Helper()
	answers := map[string]string{}
	type answer struct{ question, text string }
	all := make(chan answer)
	// Together: without a leader some wait for seconds.
	for _, question := range healthQuestions {
		go func() {
			method, path, _ := strings.Cut(question, " ")
			request, err := http.NewRequest(method, m.client+path, nil)
			if err != nil {
				all <- answer{question, err.Error()}
				return
			}
			r, err := http.DefaultClient.Do(request)
			if err != nil {
				all <- answer{question, err.Error()}
				return
			}
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			if err != nil {
				all <- answer{question, err.Error()}
				return
			}
			lines := strings.Split(string(body), "\n")
			slices.Sort(lines)
			all <- answer{question, fmt.Sprintf("%d %s %q %q\n%s", r.StatusCode, r.Header.Get("Content-Type"),
				r.Header.Get("X-Content-Type-Options"), r.Header.Get("Allow"), strings.Join(lines, "\n"))}
		}()
	}
	for range healthQuestions {
		a := <-all
		answers[a.question] = a.text
	}
	return answers
}

// grpcHealth is what grpc.health.v1 says of the whole server.
func (m *member) grpcHealth(t *testing.T) string {
	t.Helper()
	// Without the health package of gRPC: its request is empty, its answer one enumeration.
	conn, err := grpc.NewClient(strings.TrimPrefix(m.client, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var status pb.AlarmMember // a message whose first field is a number too
	if err := conn.Invoke(timeout(t), "/grpc.health.v1.Health/Check", &pb.DefragmentRequest{}, &status); err != nil {
		return err.Error()
	}
	return fmt.Sprint(status.MemberID)
}

func (c *cluster) raise(alarm pb.AlarmType, action pb.AlarmRequest_AlarmAction) {
	c.t.Helper()
	m := c.members[0]
	conn, err := grpc.NewClient(strings.TrimPrefix(m.client, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	id := c.status(m).Header.MemberId
	if _, err := pb.NewMaintenanceClient(conn).Alarm(timeout(c.t), &pb.AlarmRequest{Action: action, MemberID: id, Alarm: alarm}); err != nil {
		c.t.Fatal(err)
	}
	// Every member has heard of it once it has a linearizable read behind it; a corrupt one has none.
	for _, m := range c.members {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			list, err := m.dial().AlarmList(timeout(c.t))
			if err == nil && (len(list.Alarms) > 0) == (action == pb.AlarmRequest_ACTIVATE) {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("%s: alarms %v %v", m.kind, list, err)
			}
		}
	}
}

// `/health`, `/livez` and `/readyz` tell the same of a member of either program in each of its states.
func TestHealthOfMembers(t *testing.T) {
	told := beside(t, func(t *testing.T, k kind) map[string]map[string]string {
		states := map[string]map[string]string{}
		c := newCluster(t, k, k, k)
		note := func(state string, m *member) {
			states[state] = m.health(t)
			states[state]["grpc"] = m.grpcHealth(t)
		}
		leader := c.leader()
		var followers []*member
		for _, m := range c.members {
			if m != leader {
				followers = append(followers, m)
			}
		}
		note("leader", leader)
		note("follower", followers[0])
		for _, alarm := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
			c.raise(alarm, pb.AlarmRequest_ACTIVATE)
			note("leader "+alarm.String(), leader)
			note("follower "+alarm.String(), followers[1])
			c.raise(alarm, pb.AlarmRequest_DEACTIVATE)
		}
		note("alarms are over", leader)
		note("learner", c.addLearner(k))
		for _, m := range followers {
			m.kill()
		}
		c.members[3].kill()
		// Of a leader no minority has answered it takes an election timeout to stop being one.
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if s := c.status(leader); s != nil && s.Leader == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s leads without followers", k)
			}
		}
		note("leader of a minority", leader)
		leader.kill()
		for _, m := range followers {
			go m.tryStart()
		}
		c.leader(followers...)
		note("back", followers[0])
		for _, m := range followers {
			m.kill()
		}
		return states
	})
	for _, state := range slices.Sorted(maps.Keys(told[reference])) {
		for question, their := range told[reference][state] {
			if our := told[ours][state][question]; our != their {
				t.Errorf("%s, %s: ours answers\n%s\nthe reference\n%s", state, question, our, their)
			}
		}
	}
}

// addLearner starts one that is not promoted.
func (c *cluster) addLearner(k kind) *member {
	t := c.t
	t.Helper()
	m := &member{
		t:       t,
		kind:    k,
		dataDir: t.TempDir(),
		client:  fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
		peer:    fmt.Sprintf("http://127.0.0.1:%d", freePort(t)),
	}
	t.Cleanup(func() {
		if m.exited != nil {
			m.kill()
		}
	})
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		// Members count as connected after five seconds.
		if _, err = c.dial().MemberAddAsLearner(timeout(t), []string{m.peer}); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	c.members = append(c.members, m)
	var initial []string
	for i, other := range c.members {
		initial = append(initial, fmt.Sprintf("m%d=%s", i, other.peer))
	}
	c.configure(len(c.members)-1, strings.Join(initial, ","), "existing")
	m.start()
	if s := c.status(m); s == nil || !s.IsLearner {
		t.Fatalf("%s is no learner: %v", k, s)
	}
	return m
}

// While a member of ours defragments, its checks go on telling the truth.
func TestHealthWhileDefragmenting(t *testing.T) {
	m := newMember(t, ours, t.TempDir())
	cl := m.dial()
	value := strings.Repeat("x", 1<<20)
	for i := 0; i < 60; i++ {
		if _, err := cl.Put(timeout(t), fmt.Sprintf("key/%d", i), value); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() {
		_, err := cl.Defragment(timeout(t), strings.TrimPrefix(m.client, "http://"))
		done <- err
	}()
	for asked := 0; ; asked++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if asked < 2 {
				t.Fatalf("asked only %d times", asked)
			}
			return
		default:
		}
		for _, path := range []string{"/health", "/livez", "/readyz"} {
			r, err := http.Get(m.client + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if r.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d %s", path, r.StatusCode, body)
			}
		}
	}
}
