package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// authTarget is a member with users, asked call by call.
type authTarget struct {
	t      testing.TB
	member *member
	conn   *grpc.ClientConn
	tokens map[string]string
}

const (
	heldLease  = 7001 // attached to a key the writer may not write
	ownLease   = 7002 // attached to a key the writer may write
	emptyLease = 7003
)

var authFlags = []string{"--bcrypt-cost=4"}

// newAuthTarget makes users root, reader (r/), writer (w/), both (r/ read, w/ write) and bare,
// and enables authentication.
func newAuthTarget(t testing.TB, k kind, flags ...string) *authTarget {
	t.Helper()
	m := newMember(t, k, t.TempDir(), append(append([]string{}, authFlags...), flags...)...)
	conn, err := grpc.NewClient(strings.TrimPrefix(m.client, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	target := &authTarget{t: t, member: m, conn: conn, tokens: map[string]string{}}
	target.setUp(m.dial())
	for _, user := range []string{"root", "reader", "writer", "both", "bare"} {
		target.tokens[user] = target.login(user)
	}
	return target
}

func (a *authTarget) setUp(c *clientv3.Client) {
	a.t.Helper()
	ctx := timeout(a.t)
	must := func(err error) {
		a.t.Helper()
		if err != nil {
			a.t.Fatalf("%s: %v", a.member.kind, err)
		}
	}
	step := func(_ any, err error) { a.t.Helper(); must(err) }
	step(c.RoleAdd(ctx, "root"))
	for _, user := range []string{"root", "reader", "writer", "both", "bare", "changed"} {
		step(c.UserAdd(ctx, user, "pw-"+user))
	}
	step(c.UserAddWithOptions(ctx, "silent", "", &clientv3.UserAddOptions{NoPassword: true}))
	step(c.UserGrantRole(ctx, "root", "root"))
	step(c.RoleAdd(ctx, "reads"))
	step(c.RoleAdd(ctx, "writes"))
	step(c.RoleGrantPermission(ctx, "reads", "r/", "r0", clientv3.PermissionType(clientv3.PermRead)))
	step(c.RoleGrantPermission(ctx, "writes", "w/", "w0", clientv3.PermissionType(clientv3.PermWrite)))
	step(c.UserGrantRole(ctx, "reader", "reads"))
	step(c.UserGrantRole(ctx, "writer", "writes"))
	step(c.UserGrantRole(ctx, "both", "reads"))
	step(c.UserGrantRole(ctx, "both", "writes"))
	for _, id := range []int64{heldLease, ownLease, emptyLease} {
		step(pb.NewLeaseClient(a.conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 3600}))
	}
	step(c.Put(ctx, "r/1", "x", clientv3.WithLease(heldLease)))
	step(c.Put(ctx, "w/1", "x", clientv3.WithLease(ownLease)))
	step(c.Put(ctx, "secret", "x"))
	step(c.AuthEnable(ctx))
}

func (a *authTarget) login(user string) string {
	a.t.Helper()
	r, err := pb.NewAuthClient(a.conn).Authenticate(timeout(a.t),
		&pb.AuthenticateRequest{Name: user, Password: "pw-" + user})
	if err != nil {
		a.t.Fatalf("%s: login of %s: %v", a.member.kind, user, err)
	}
	return r.Token
}

type authCall struct {
	name string
	// shows whether the answer itself is compared too, without its header
	shows bool
	call  func(ctx context.Context, c *grpc.ClientConn) (any, error)
}

func key(s string) []byte { return []byte(s) }

func put(k string, more ...func(*pb.PutRequest)) *pb.PutRequest {
	r := &pb.PutRequest{Key: key(k), Value: key("v")}
	for _, f := range more {
		f(r)
	}
	return r
}

func withPrev(r *pb.PutRequest)               { r.PrevKv = true }
func withLease(id int64) func(*pb.PutRequest) { return func(r *pb.PutRequest) { r.Lease = id } }
func opPut(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}
func opRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}
func opDelete(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}
func opTxn(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

func kv(name string, call func(context.Context, pb.KVClient) (any, error)) authCall {
	return authCall{name, false, func(ctx context.Context, c *grpc.ClientConn) (any, error) {
		return call(ctx, pb.NewKVClient(c))
	}}
}

func kvCalls() []authCall {
	rng := func(name, from, to string, f func(*pb.RangeRequest)) authCall {
		return kv("range "+name, func(ctx context.Context, c pb.KVClient) (any, error) {
			r := &pb.RangeRequest{Key: key(from), RangeEnd: key(to)}
			f(r)
			return c.Range(ctx, r)
		})
	}
	no := func(*pb.RangeRequest) {}
	calls := []authCall{
		rng("own key", "r/1", "", no), rng("own range", "r/", "r0", no), rng("part", "r/1", "r/5", no),
		rng("beyond", "r/", "r1", no), rng("everything", "\x00", "\x00", no),
		rng("from own key on", "r/1", "\x00", no), rng("other", "secret", "", no),
		rng("inverted", "r/5", "r/1", no), rng("inverted from elsewhere", "z", "a", no),
		rng("serializable", "secret", "", func(r *pb.RangeRequest) { r.Serializable = true }),
		rng("count", "secret", "", func(r *pb.RangeRequest) { r.CountOnly = true }),
		rng("empty key", "", "", no), rng("future", "r/1", "", func(r *pb.RangeRequest) { r.Revision = 1 << 40 }),
	}
	for name, r := range map[string]*pb.PutRequest{
		"own": put("w/1"), "other": put("secret"), "readable": put("r/1"), "own with prev": put("w/1", withPrev),
		"own with a lease of others": put("w/2", withLease(heldLease)),
		"own with own lease":         put("w/3", withLease(ownLease)),
		"own with no such lease":     put("w/3", withLease(999)),
		"own with empty lease":       put("w/4", withLease(emptyLease)),
		"empty key":                  put(""),
	} {
		calls = append(calls, kv("put "+name, func(ctx context.Context, c pb.KVClient) (any, error) { return c.Put(ctx, r) }))
		for depth := 1; depth <= 3; depth++ {
			for _, branch := range []string{"success", "failure"} {
				calls = append(calls, kv(fmt.Sprintf("txn %d %s put %s", depth, branch, name),
					func(ctx context.Context, c pb.KVClient) (any, error) {
						return c.Txn(ctx, nested(depth, branch, opPut(r)))
					}))
			}
		}
	}
	for name, op := range map[string]*pb.RequestOp{
		"range own":             opRange(&pb.RangeRequest{Key: key("r/1")}),
		"range other":           opRange(&pb.RangeRequest{Key: key("secret")}),
		"range other, serial":   opRange(&pb.RangeRequest{Key: key("secret"), Serializable: true}),
		"delete own":            opDelete(&pb.DeleteRangeRequest{Key: key("w/9")}),
		"delete own with prev":  opDelete(&pb.DeleteRangeRequest{Key: key("w/9"), PrevKv: true}),
		"delete other":          opDelete(&pb.DeleteRangeRequest{Key: key("nothing")}),
		"delete from own on":    opDelete(&pb.DeleteRangeRequest{Key: key("w/9"), RangeEnd: []byte{0}}),
		"delete readable range": opDelete(&pb.DeleteRangeRequest{Key: key("r/8"), RangeEnd: key("r/9")}),
	} {
		for depth := 1; depth <= 3; depth++ {
			for _, branch := range []string{"success", "failure"} {
				calls = append(calls, kv(fmt.Sprintf("txn %d %s %s", depth, branch, name),
					func(ctx context.Context, c pb.KVClient) (any, error) {
						return c.Txn(ctx, nested(depth, branch, op))
					}))
			}
		}
	}
	compare := &pb.TxnRequest{Compare: []*pb.Compare{{Key: key("secret"), Target: pb.Compare_VERSION,
		TargetUnion: &pb.Compare_Version{Version: 5}}}}
	return append(calls,
		kv("txn compare", func(ctx context.Context, c pb.KVClient) (any, error) { return c.Txn(ctx, compare) }),
		kv("txn nested compare", func(ctx context.Context, c pb.KVClient) (any, error) {
			return c.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{opTxn(compare)}})
		}),
		kv("txn empty", func(ctx context.Context, c pb.KVClient) (any, error) { return c.Txn(ctx, &pb.TxnRequest{}) }),
		kv("delete own", func(ctx context.Context, c pb.KVClient) (any, error) {
			return c.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key("w/8")})
		}),
		kv("delete own with prev", func(ctx context.Context, c pb.KVClient) (any, error) {
			return c.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key("w/8"), PrevKv: true})
		}),
		kv("delete other", func(ctx context.Context, c pb.KVClient) (any, error) {
			return c.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: key("nothing")})
		}),
		kv("compact", func(ctx context.Context, c pb.KVClient) (any, error) {
			return c.Compact(ctx, &pb.CompactionRequest{Revision: 1 << 40})
		}),
	)
}

// nested puts an operation into one branch of a transaction, `depth` levels down.
func nested(depth int, branch string, op *pb.RequestOp) *pb.TxnRequest {
	if depth > 1 {
		op = opTxn(nested(depth-1, branch, op))
	}
	if branch == "success" {
		return &pb.TxnRequest{Success: []*pb.RequestOp{op}}
	}
	return &pb.TxnRequest{Failure: []*pb.RequestOp{op}}
}

func leaseCalls() []authCall {
	type client = pb.LeaseClient
	on := func(name string, call func(context.Context, client) (any, error)) authCall {
		return authCall{"lease " + name, false, func(ctx context.Context, c *grpc.ClientConn) (any, error) {
			return call(ctx, pb.NewLeaseClient(c))
		}}
	}
	calls := []authCall{
		on("leases", func(ctx context.Context, c client) (any, error) { return c.LeaseLeases(ctx, &pb.LeaseLeasesRequest{}) }),
		on("grant", func(ctx context.Context, c client) (any, error) {
			return c.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: emptyLease, TTL: 100})
		}),
		on("revoke held", func(ctx context.Context, c client) (any, error) {
			// Root may, so this is asked of a lease that is not there for it.
			return c.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 999})
		}),
	}
	for name, id := range map[string]int64{"held": heldLease, "own": ownLease, "empty": emptyLease, "none": 999} {
		for _, keys := range []bool{false, true} {
			calls = append(calls, on(fmt.Sprintf("ttl %s keys=%v", name, keys),
				func(ctx context.Context, c client) (any, error) {
					return c.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: id, Keys: keys})
				}))
		}
		calls = append(calls, on("renew "+name, func(ctx context.Context, c client) (any, error) {
			s, err := c.LeaseKeepAlive(ctx)
			if err != nil {
				return nil, err
			}
			if err := s.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
				return nil, err
			}
			return s.Recv()
		}))
	}
	return calls
}

func maintenanceCalls() []authCall {
	type client = pb.MaintenanceClient
	on := func(name string, call func(context.Context, client) (any, error)) authCall {
		return authCall{"maintenance " + name, false, func(ctx context.Context, c *grpc.ClientConn) (any, error) {
			return call(ctx, pb.NewMaintenanceClient(c))
		}}
	}
	return []authCall{
		on("status", func(ctx context.Context, c client) (any, error) { return c.Status(ctx, &pb.StatusRequest{}) }),
		on("hash", func(ctx context.Context, c client) (any, error) { return c.Hash(ctx, &pb.HashRequest{}) }),
		on("hashkv", func(ctx context.Context, c client) (any, error) { return c.HashKV(ctx, &pb.HashKVRequest{}) }),
		on("defragment", func(ctx context.Context, c client) (any, error) { return c.Defragment(ctx, &pb.DefragmentRequest{}) }),
		on("alarm list", func(ctx context.Context, c client) (any, error) { return c.Alarm(ctx, &pb.AlarmRequest{}) }),
		on("alarm off", func(ctx context.Context, c client) (any, error) {
			return c.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE})
		}),
		on("move leader", func(ctx context.Context, c client) (any, error) {
			return c.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 5})
		}),
		on("downgrade", func(ctx context.Context, c client) (any, error) {
			return c.Downgrade(ctx, &pb.DowngradeRequest{Action: pb.DowngradeRequest_VALIDATE, Version: "x"})
		}),
		on("snapshot", func(ctx context.Context, c client) (any, error) {
			s, err := c.Snapshot(ctx, &pb.SnapshotRequest{})
			if err != nil {
				return nil, err
			}
			for {
				if _, err := s.Recv(); err == io.EOF {
					return nil, nil
				} else if err != nil {
					return nil, err
				}
			}
		}),
	}
}

func clusterCalls() []authCall {
	type client = pb.ClusterClient
	on := func(name string, call func(context.Context, client) (any, error)) authCall {
		return authCall{"cluster " + name, false, func(ctx context.Context, c *grpc.ClientConn) (any, error) {
			return call(ctx, pb.NewClusterClient(c))
		}}
	}
	return []authCall{
		on("list", func(ctx context.Context, c client) (any, error) { return c.MemberList(ctx, &pb.MemberListRequest{}) }),
		on("linearizable list", func(ctx context.Context, c client) (any, error) {
			return c.MemberList(ctx, &pb.MemberListRequest{Linearizable: true})
		}),
		on("add bad", func(ctx context.Context, c client) (any, error) {
			return c.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"x"}})
		}),
		on("remove", func(ctx context.Context, c client) (any, error) {
			return c.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 5})
		}),
		on("update", func(ctx context.Context, c client) (any, error) {
			return c.MemberUpdate(ctx, &pb.MemberUpdateRequest{ID: 5, PeerURLs: []string{"http://127.0.0.1:1"}})
		}),
		on("promote", func(ctx context.Context, c client) (any, error) {
			return c.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 5})
		}),
	}
}

func adminCalls() []authCall {
	type client = pb.AuthClient
	on := func(name string, call func(context.Context, client) (any, error)) authCall {
		return authCall{"auth " + name, true, func(ctx context.Context, c *grpc.ClientConn) (any, error) {
			return call(ctx, pb.NewAuthClient(c))
		}}
	}
	return []authCall{
		on("status", func(ctx context.Context, c client) (any, error) { return c.AuthStatus(ctx, &pb.AuthStatusRequest{}) }),
		on("enable", func(ctx context.Context, c client) (any, error) { return c.AuthEnable(ctx, &pb.AuthEnableRequest{}) }),
		on("user list", func(ctx context.Context, c client) (any, error) { return c.UserList(ctx, &pb.AuthUserListRequest{}) }),
		on("user get reader", func(ctx context.Context, c client) (any, error) {
			return c.UserGet(ctx, &pb.AuthUserGetRequest{Name: "reader"})
		}),
		on("user get none", func(ctx context.Context, c client) (any, error) {
			return c.UserGet(ctx, &pb.AuthUserGetRequest{Name: "x"})
		}),
		on("user add again", func(ctx context.Context, c client) (any, error) {
			return c.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "bare", Password: "x"})
		}),
		on("user add empty", func(ctx context.Context, c client) (any, error) {
			return c.UserAdd(ctx, &pb.AuthUserAddRequest{Password: "x"})
		}),
		on("user delete none", func(ctx context.Context, c client) (any, error) {
			return c.UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: "x"})
		}),
		on("user delete root", func(ctx context.Context, c client) (any, error) {
			return c.UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: "root"})
		}),
		on("password of none", func(ctx context.Context, c client) (any, error) {
			return c.UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: "x", Password: "y"})
		}),
		on("grant role to none", func(ctx context.Context, c client) (any, error) {
			return c.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "x", Role: "reads"})
		}),
		on("grant no role", func(ctx context.Context, c client) (any, error) {
			return c.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "bare", Role: "x"})
		}),
		on("grant again", func(ctx context.Context, c client) (any, error) {
			return c.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "reader", Role: "reads"})
		}),
		on("revoke role not granted", func(ctx context.Context, c client) (any, error) {
			return c.UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: "bare", Role: "reads"})
		}),
		on("revoke root", func(ctx context.Context, c client) (any, error) {
			return c.UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: "root", Role: "root"})
		}),
		on("role list", func(ctx context.Context, c client) (any, error) { return c.RoleList(ctx, &pb.AuthRoleListRequest{}) }),
		on("role get reads", func(ctx context.Context, c client) (any, error) {
			return c.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "reads"})
		}),
		on("role get root", func(ctx context.Context, c client) (any, error) {
			return c.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "root"})
		}),
		on("role get none", func(ctx context.Context, c client) (any, error) {
			return c.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: "x"})
		}),
		on("role add again", func(ctx context.Context, c client) (any, error) {
			return c.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "reads"})
		}),
		on("role add empty", func(ctx context.Context, c client) (any, error) { return c.RoleAdd(ctx, &pb.AuthRoleAddRequest{}) }),
		on("role delete none", func(ctx context.Context, c client) (any, error) {
			return c.RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: "x"})
		}),
		on("role delete root", func(ctx context.Context, c client) (any, error) {
			return c.RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: "root"})
		}),
		on("grant no permission", func(ctx context.Context, c client) (any, error) {
			return c.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "reads"})
		}),
		on("grant inverted", func(ctx context.Context, c client) (any, error) {
			return c.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: "reads",
				Perm: &authpb.Permission{Key: key("b"), RangeEnd: key("a")}})
		}),
		on("revoke permission not granted", func(ctx context.Context, c client) (any, error) {
			return c.RoleRevokePermission(ctx, &pb.AuthRoleRevokePermissionRequest{Role: "reads", Key: key("r/")})
		}),
		on("login wrong", func(ctx context.Context, c client) (any, error) {
			return c.Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "x"})
		}),
		on("login none", func(ctx context.Context, c client) (any, error) {
			return c.Authenticate(ctx, &pb.AuthenticateRequest{Name: "x", Password: "x"})
		}),
		on("login silent", func(ctx context.Context, c client) (any, error) {
			return c.Authenticate(ctx, &pb.AuthenticateRequest{Name: "silent", Password: ""})
		}),
	}
}

func watchCalls() []authCall {
	watch := func(name string, r *pb.WatchCreateRequest) authCall {
		return authCall{"watch " + name, false, func(ctx context.Context, c *grpc.ClientConn) (any, error) {
			s, err := pb.NewWatchClient(c).Watch(ctx)
			if err != nil {
				return nil, err
			}
			if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}); err != nil {
				return nil, err
			}
			w, err := s.Recv()
			if err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("created=%v canceled=%v id=%d: %s", w.Created, w.Canceled, w.WatchId, w.CancelReason)
		}}
	}
	return []authCall{
		watch("own", &pb.WatchCreateRequest{Key: key("r/1")}),
		watch("own range", &pb.WatchCreateRequest{Key: key("r/"), RangeEnd: key("r0")}),
		watch("from own on", &pb.WatchCreateRequest{Key: key("r/1"), RangeEnd: []byte{0}}),
		watch("everything", &pb.WatchCreateRequest{RangeEnd: []byte{0}}),
		watch("empty key", &pb.WatchCreateRequest{}),
		watch("other", &pb.WatchCreateRequest{Key: key("secret")}),
		watch("negative", &pb.WatchCreateRequest{Key: key("secret"), StartRevision: -1}),
	}
}

func (a *authTarget) ask(c authCall, identity string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	switch identity {
	case "nobody":
	case "bad token":
		ctx = metadata.AppendToOutgoingContext(ctx, "token", "garbage")
	case "made-up token":
		ctx = metadata.AppendToOutgoingContext(ctx, "token", "abcdefghijklmnop.3")
	case "reader as bearer":
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+a.tokens["reader"])
	default:
		ctx = metadata.AppendToOutgoingContext(ctx, "token", a.tokens[identity])
	}
	answer, err := c.call(ctx, a.conn)
	if err != nil {
		s := status.Convert(err)
		return fmt.Sprintf("%v: %s", s.Code(), s.Message())
	}
	if !c.shows {
		return "OK"
	}
	text, err := json.Marshal(answer)
	if err != nil {
		a.t.Fatal(err)
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		a.t.Fatal(err)
	}
	delete(fields, "header")
	return fmt.Sprintf("OK %v", fields)
}

// Every call as every kind of caller is answered as the reference does: code, message, and for the
// Auth service the answer.
func TestAuthMatrix(t *testing.T) {
	theirs, own := newAuthTarget(t, reference), newAuthTarget(t, ours)
	calls := append(kvCalls(), leaseCalls()...)
	calls = append(calls, maintenanceCalls()...)
	calls = append(calls, clusterCalls()...)
	calls = append(calls, adminCalls()...)
	calls = append(calls, watchCalls()...)
	// A token of a user whose password changed is over.
	theirs.tokens["expired"], own.tokens["expired"] = theirs.login("changed"), own.login("changed")
	for _, a := range []*authTarget{theirs, own} {
		ctx := metadata.AppendToOutgoingContext(timeout(t), "token", a.tokens["root"])
		if _, err := pb.NewAuthClient(a.conn).UserChangePassword(ctx,
			&pb.AuthUserChangePasswordRequest{Name: "changed", Password: "other"}); err != nil {
			t.Fatal(err)
		}
	}
	identities := []string{"nobody", "bad token", "made-up token", "expired", "bare", "reader", "reader as bearer", "writer", "both", "root"}
	for _, identity := range identities {
		for _, c := range calls {
			want, got := theirs.ask(c, identity), own.ask(c, identity)
			if want != got {
				t.Errorf("%s as %s:\n reference %s\n      ours %s", c.name, identity, want, got)
			}
		}
	}
	own.checkLog()
	t.Logf("%d calls as %d callers", len(calls), len(identities))
}

// The gateway takes tokens in the Authorization header.
func TestAuthGateway(t *testing.T) {
	theirs, own := newAuthTarget(t, reference), newAuthTarget(t, ours)
	for _, token := range []string{"", "x", "reader", "root"} {
		for _, body := range []string{`{"key":"ci8x"}`, `{"key":"c2VjcmV0"}`} {
			var answers []string
			for _, a := range []*authTarget{theirs, own} {
				r, err := http.NewRequest("POST", a.member.client+"/v3/kv/range", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if given, ok := a.tokens[token]; ok {
					r.Header.Set("Authorization", given)
				} else if token != "" {
					r.Header.Set("Authorization", token)
				}
				answer, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				seen := fmt.Sprintf("%d", answer.StatusCode)
				if answer.StatusCode != 200 {
					// protojson puts blanks where it likes.
					seen += " " + strings.ReplaceAll(string(text), `, "`, `,"`)
				}
				answers = append(answers, seen)
			}
			if answers[0] != answers[1] {
				t.Errorf("%q %s:\n reference %s\n      ours %s", token, body, answers[0], answers[1])
			}
		}
	}
}

// Members of both kinds store the same users, and know each other's tokens.
func TestAuthMixedCluster(t *testing.T) {
	c := newCluster(t, reference, ours, ours)
	a := &authTarget{t: t, member: c.members[0], tokens: map[string]string{}}
	conn, err := grpc.NewClient(strings.TrimPrefix(a.member.client, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a.conn = conn
	a.setUp(c.members[1].dial())
	for i, m := range c.members {
		root := loginAt(t, m, "root")
		for j, other := range c.members {
			o, err := grpc.NewClient(strings.TrimPrefix(other.client, "http://"),
				grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			ctx := metadata.AppendToOutgoingContext(timeout(t), "token", root)
			if _, err := pb.NewKVClient(o).Put(ctx, &pb.PutRequest{Key: key("secret"), Value: key("y")}); err != nil {
				t.Errorf("token of member %d at member %d: %v", i, j, err)
			}
			o.Close()
		}
	}
	var hashes []string
	for range 20 {
		hashes = nil
		for _, m := range c.members {
			o, err := grpc.NewClient(strings.TrimPrefix(m.client, "http://"),
				grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Fatal(err)
			}
			ctx := metadata.AppendToOutgoingContext(timeout(t), "token", loginAt(t, m, "root"))
			r, err := pb.NewMaintenanceClient(o).Hash(ctx, &pb.HashRequest{})
			o.Close()
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, fmt.Sprint(r.Hash))
		}
		if hashes[0] == hashes[1] && hashes[1] == hashes[2] {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Errorf("backends differ: %v", hashes)
}

func loginAt(t testing.TB, m *member, user string) string {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(m.client, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r, err := pb.NewAuthClient(conn).Authenticate(timeout(t), &pb.AuthenticateRequest{Name: user, Password: "pw-" + user})
	if err != nil {
		t.Fatalf("login of %s at %s: %v", user, m.kind, err)
	}
	return r.Token
}

// Either member goes on with what the other stored; users and the switch survive.
func TestAuthDataDirectory(t *testing.T) {
	for _, order := range [][]kind{{reference, ours}, {ours, reference}} {
		a := newAuthTarget(t, order[0])
		a.member.swap(order[1])
		ctx := timeout(t)
		if _, err := a.member.dial().Get(ctx, "r/1"); err == nil || !strings.Contains(err.Error(), "user name is empty") {
			t.Errorf("%s after %s: nobody reads: %v", order[1], order[0], err)
		}
		token := loginAt(t, a.member, "reader")
		allowed := metadata.AppendToOutgoingContext(ctx, "token", token)
		if _, err := pb.NewKVClient(a.conn).Range(allowed, &pb.RangeRequest{Key: key("r/1")}, grpc.WaitForReady(true)); err != nil {
			t.Errorf("%s after %s: the reader reads: %v", order[1], order[0], err)
		}
		if _, err := pb.NewKVClient(a.conn).Range(allowed, &pb.RangeRequest{Key: key("secret")}); err == nil {
			t.Errorf("%s after %s: the reader reads what it may not", order[1], order[0])
		}
	}
}

// Passwords, hashes and tokens stay out of the log, also where a call was refused.
func (a *authTarget) checkLog() {
	a.t.Helper()
	log := a.member.log.String()
	for _, secret := range []string{"pw-root", "pw-reader", "$2a$", a.tokens["root"], a.tokens["reader"]} {
		if secret != "" && strings.Contains(log, secret) {
			a.t.Errorf("%s logs the secret %q", a.member.kind, secret)
		}
	}
}

// Whoever loses the permission gets no more events of a watch that is open. The reference goes on
// delivering them; see docs/auth.md.
func TestAuthWatchRevoked(t *testing.T) {
	a := newAuthTarget(t, ours)
	ctx := timeout(t)
	reader := metadata.AppendToOutgoingContext(ctx, "token", a.tokens["reader"])
	root := metadata.AppendToOutgoingContext(ctx, "token", a.tokens["root"])
	s, err := pb.NewWatchClient(a.conn).Watch(reader)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchCreateRequest{Key: key("r/1")}
	if err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Recv(); err != nil || w.Canceled {
		t.Fatalf("%v %v", w, err)
	}
	write := func() {
		t.Helper()
		if _, err := pb.NewKVClient(a.conn).Put(root, put("r/1")); err != nil {
			t.Fatal(err)
		}
	}
	// A change that takes nothing away ends nothing.
	if _, err := pb.NewAuthClient(a.conn).RoleAdd(root, &pb.AuthRoleAddRequest{Name: "another"}); err != nil {
		t.Fatal(err)
	}
	write()
	if w, err := s.Recv(); err != nil || len(w.Events) != 1 {
		t.Fatalf("%v %v", w, err)
	}
	if _, err := pb.NewAuthClient(a.conn).UserRevokeRole(root, &pb.AuthUserRevokeRoleRequest{Name: "reader", Role: "reads"}); err != nil {
		t.Fatal(err)
	}
	write()
	w, err := s.Recv()
	if err != nil || !w.Canceled || len(w.Events) != 0 || !strings.Contains(w.CancelReason, "permission denied") {
		t.Errorf("%v %v", w, err)
	}
	a.checkLog()
}

// A token one side signs is good on the other until users change, and is old after that.
func TestAuthJWT(t *testing.T) {
	dir := t.TempDir()
	private, public := dir+"/key.pem", dir+"/pub.pem"
	run(t, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", private)
	run(t, "openssl", "pkey", "-in", private, "-pubout", "-out", public)
	flag := "--auth-token=jwt,sign-method=RS256,ttl=10m,pub-key=" + public + ",priv-key=" + private
	theirs, own := newAuthTarget(t, reference, flag), newAuthTarget(t, ours, flag)
	calls := append(adminCalls(), kvCalls()...)
	compare := func(when string) {
		t.Helper()
		for _, identity := range []string{"nobody", "bad token", "reader", "root"} {
			for _, c := range calls {
				want, got := theirs.ask(c, identity), own.ask(c, identity)
				if want != got {
					t.Errorf("%s: %s as %s:\n reference %s\n      ours %s", when, c.name, identity, want, got)
				}
			}
		}
	}
	compare("own tokens")
	theirs.tokens, own.tokens = own.tokens, theirs.tokens
	compare("tokens of the other")
	for _, a := range []*authTarget{theirs, own} {
		ctx := metadata.AppendToOutgoingContext(timeout(t), "token", a.tokens["root"])
		if _, err := pb.NewAuthClient(a.conn).RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "another"}); err != nil {
			t.Fatal(err)
		}
	}
	compare("old tokens")
	own.checkLog()
}
