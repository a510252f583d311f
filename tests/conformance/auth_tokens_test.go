package conformance

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/golang-jwt/jwt/v5"
)

// jwtKeys makes a pair for a method: files of both, and what signs.
func jwtKeys(t testing.TB, method string) (private, public string, signer any) {
	t.Helper()
	dir := t.TempDir()
	private, public = dir+"/key.pem", dir+"/pub.pem"
	if strings.HasPrefix(method, "HS") {
		secret := []byte("a secret of more than thirty-two bytes, to be sure\n")
		if err := os.WriteFile(private, secret, 0o600); err != nil {
			t.Fatal(err)
		}
		return private, private, secret
	}
	words := map[string][]string{
		"RS": {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		"PS": {"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		"Ed": {"-algorithm", "ED25519"},
	}[method[:2]]
	if curve := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[method]; curve != "" {
		words = []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + curve}
	}
	run(t, "openssl", append([]string{"genpkey", "-out", private}, words...)...)
	run(t, "openssl", "pkey", "-in", private, "-pubout", "-out", public)
	pem, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	switch method[:2] {
	case "ES":
		signer, err = jwt.ParseECPrivateKeyFromPEM(pem)
	case "Ed":
		signer, err = jwt.ParseEdPrivateKeyFromPEM(pem)
	default:
		signer, err = jwt.ParseRSAPrivateKeyFromPEM(pem)
	}
	if err != nil {
		t.Fatal(err)
	}
	return private, public, signer
}

func signed(t testing.TB, method string, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.GetSigningMethod(method), claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func encodedJSON(v any) string {
	text, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(text)
}

// forgeries are tokens that are not what they should be, and a few that are.
func forgeries(t testing.TB, method, public string, key any, revision uint64) map[string]string {
	later := time.Now().Add(time.Hour).Unix()
	good := jwt.MapClaims{"username": "root", "revision": revision, "exp": later}
	with := func(name string, value any) jwt.MapClaims {
		claims := jwt.MapClaims{}
		for k, v := range good {
			claims[k] = v
		}
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
		return claims
	}
	_, _, foreign := jwtKeys(t, method)
	if strings.HasPrefix(method, "HS") {
		foreign = []byte("another secret of more than thirty-two bytes")
	}
	own := signed(t, method, key, good)
	parts := strings.Split(own, ".")
	asSecret, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	confused := encodedJSON(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + encodedJSON(good)
	mac := hmac.New(sha256.New, asSecret)
	mac.Write([]byte(confused))
	tokens := map[string]string{
		"good":                     own,
		"good, user of the past":   signed(t, method, key, with("revision", revision-1)),
		"good, of times to come":   signed(t, method, key, with("revision", revision+7)),
		"good, half a revision":    signed(t, method, key, with("revision", float64(revision)+0.5)),
		"good, unknown user":       signed(t, method, key, with("username", "nobody")),
		"good, empty user":         signed(t, method, key, with("username", "")),
		"good, without end":        signed(t, method, key, with("exp", nil)),
		"good, other claims":       signed(t, method, key, with("aud", "x")),
		"expired":                  signed(t, method, key, with("exp", 1)),
		"end is no number":         signed(t, method, key, with("exp", "tomorrow")),
		"not yet":                  signed(t, method, key, with("nbf", later)),
		"issued later":             signed(t, method, key, with("iat", later)),
		"no user":                  signed(t, method, key, with("username", nil)),
		"user is a number":         signed(t, method, key, with("username", 5)),
		"no revision":              signed(t, method, key, with("revision", nil)),
		"revision is a text":       signed(t, method, key, with("revision", "7")),
		"revision is a list":       signed(t, method, key, with("revision", []int{7})),
		"another cluster's":        signed(t, method, foreign, good),
		"no signature":             encodedJSON(map[string]string{"alg": "none", "typ": "JWT"}) + "." + parts[1] + ".",
		"claims replaced":          parts[0] + "." + encodedJSON(with("username", "root")) + "x." + parts[2],
		"signature cut":            parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])-4],
		"signature of another":     parts[0] + "." + encodedJSON(with("username", "reader")) + "." + parts[2],
		"two parts":                parts[0] + "." + parts[1],
		"four parts":               own + ".x",
		"padded":                   own + "=",
		"with a line feed encoded": own + "%0a",
		"a simple token":           "abcdefghijklmnop.5",
	}
	if !strings.HasPrefix(method, "HS") {
		tokens["the public key as a secret"] = confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	// The same key under a sibling of the method.
	for sibling, of := range map[string]string{"RS512": "RS", "PS256": "RS", "RS256": "PS", "HS512": "HS"} {
		if strings.HasPrefix(method, of) && sibling != method {
			tokens["a sibling, "+sibling] = signed(t, sibling, key, good)
		}
	}
	return tokens
}

// Each algorithm: tokens of either side serve on both, members without the private key only
// verify, and whatever is forged gets the reference's answer.
func TestAuthJWTAlgorithms(t *testing.T) {
	for _, method := range []string{"RS512", "PS256", "ES256", "ES512", "EdDSA", "HS256"} {
		t.Run(method, func(t *testing.T) {
			private, public, key := jwtKeys(t, method)
			keys := ",priv-key=" + private
			if !strings.HasPrefix(method, "HS") {
				keys += ",pub-key=" + public
			}
			flag := "--auth-token=jwt,sign-method=" + method + ",ttl=10m" + keys
			theirs, own := newAuthTarget(t, reference, flag), newAuthTarget(t, ours, flag)
			r, err := pb.NewAuthClient(own.conn).AuthStatus(
				metadata.AppendToOutgoingContext(timeout(t), "token", theirs.tokens["root"]), &pb.AuthStatusRequest{})
			if err != nil {
				t.Fatalf("ours does not take the reference's token: %v", err)
			}
			tokens := forgeries(t, method, public, key, r.AuthRevision)
			tokens["the other's"] = own.tokens["root"]
			theirs.tokens, own.tokens = tokens, tokens
			compareTokens(t, theirs, own, tokens)
			own.checkLog()
			if strings.HasPrefix(method, "HS") {
				return
			}
			verifyOnly := []string{authFlags[0], "--auth-token=jwt,sign-method=" + method + ",pub-key=" + public}
			theirs.restartWith(verifyOnly)
			own.restartWith(verifyOnly)
			compareTokens(t, theirs, own, tokens)
			login := func(a *authTarget) string {
				_, err := pb.NewAuthClient(a.conn).Authenticate(timeout(t), &pb.AuthenticateRequest{Name: "root", Password: "pw-root"})
				return fmt.Sprint(status.Convert(err).Code(), status.Convert(err).Message())
			}
			if want, got := login(theirs), login(own); want != got {
				t.Errorf("login where tokens are only verified:\n reference %s\n      ours %s", want, got)
			}
		})
	}
}

func (a *authTarget) restartWith(flags []string) {
	a.t.Helper()
	a.member.stop()
	a.member.flags = flags
	a.member.start()
	a.conn.Close()
	conn, err := grpc.NewClient(strings.TrimPrefix(a.member.client, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { conn.Close() })
	a.conn = conn
}

func compareTokens(t *testing.T, theirs, own *authTarget, tokens map[string]string) {
	t.Helper()
	calls := []authCall{
		kv("range", func(ctx context.Context, c pb.KVClient) (any, error) {
			return c.Range(ctx, &pb.RangeRequest{Key: key("secret")})
		}),
		kv("put", func(ctx context.Context, c pb.KVClient) (any, error) { return c.Put(ctx, put("secret")) }),
		{"user list", false, func(ctx context.Context, c *grpc.ClientConn) (any, error) {
			return pb.NewAuthClient(c).UserList(ctx, &pb.AuthUserListRequest{})
		}},
	}
	for name := range tokens {
		for _, c := range calls {
			if want, got := theirs.ask(c, name), own.ask(c, name); want != got {
				t.Errorf("%s with a token that is %s:\n reference %s\n      ours %s", c.name, name, want, got)
			}
		}
	}
}

// A learner answers who may ask it, and is promoted by root through a follower, as in the reference;
// then users hold on the new voter as well.
func TestAuthLearner(t *testing.T) {
	for _, kinds := range [][]kind{{ours, ours, ours}, {reference, ours, ours}, {ours, reference, reference}} {
		t.Run(fmt.Sprint(kinds), func(t *testing.T) {
			c := newCluster(t, kinds[0], kinds[1])
			a := &authTarget{t: t, member: c.members[0], tokens: map[string]string{}}
			conn := func(m *member) *grpc.ClientConn {
				o, err := grpc.NewClient(strings.TrimPrefix(m.client, "http://"),
					grpc.WithTransportCredentials(insecure.NewCredentials()))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { o.Close() })
				return o
			}
			a.conn = conn(c.members[0])
			// Asked while everybody may.
			follower := c.members[0]
			if c.leader() == follower {
				follower = c.members[1]
			}
			a.setUp(c.dial(c.members[0]))
			as := func(m *member, user string) context.Context {
				return metadata.AppendToOutgoingContext(timeout(t), "token", loginAt(t, m, user))
			}
			time.Sleep(5500 * time.Millisecond)
			learner := &member{t: t, kind: kinds[2], dataDir: t.TempDir(),
				client: fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), peer: fmt.Sprintf("http://127.0.0.1:%d", freePort(t))}
			added, err := pb.NewClusterClient(a.conn).MemberAdd(as(c.members[0], "root"),
				&pb.MemberAddRequest{PeerURLs: []string{learner.peer}, IsLearner: true})
			if err != nil {
				t.Fatal(err)
			}
			c.members = append(c.members, learner)
			c.configure(2, fmt.Sprintf("m0=%s,m1=%s,m2=%s", c.members[0].peer, c.members[1].peer, learner.peer), "existing")
			learner.start()
			at := pb.NewKVClient(conn(learner))
			deadline := time.Now().Add(20 * time.Second)
			ask := func(user string, serializable bool, k string) string {
				ctx := timeout(t)
				if user != "" {
					ctx = as(c.members[0], user)
				}
				_, err := at.Range(ctx, &pb.RangeRequest{Key: key(k), Serializable: serializable})
				return fmt.Sprint(status.Convert(err).Code(), " ", status.Convert(err).Message())
			}
			// It has to catch up first.
			for ask("reader", true, "r/1") != "OK " && time.Now().Before(deadline) {
				time.Sleep(100 * time.Millisecond)
			}
			for _, one := range []struct {
				user, key, want string
				serializable    bool
			}{
				{"reader", "r/1", "OK ", true},
				{"reader", "secret", "PermissionDenied etcdserver: permission denied", true},
				{"", "r/1", "InvalidArgument etcdserver: user name is empty", true},
				{"root", "secret", "OK ", true},
				{"reader", "r/1", "FailedPrecondition etcdserver: rpc not supported for learner", false},
			} {
				got := ask(one.user, one.serializable, one.key)
				// A token that was made just now may not have reached it.
				for strings.Contains(got, "invalid auth token") && time.Now().Before(deadline) {
					time.Sleep(50 * time.Millisecond)
					got = ask(one.user, one.serializable, one.key)
				}
				if got != one.want {
					t.Errorf("%q reads %s of the learner (serializable: %v): %s", one.user, one.key, one.serializable, got)
				}
			}
			promote := func(ctx context.Context) error {
				_, err := pb.NewClusterClient(conn(follower)).MemberPromote(ctx, &pb.MemberPromoteRequest{ID: added.Member.ID})
				return err
			}
			if err := promote(as(follower, "reader")); status.Convert(err).Message() != "etcdserver: permission denied" {
				t.Errorf("a reader promotes: %v", err)
			}
			for {
				err := promote(as(follower, "root"))
				if err == nil {
					break
				}
				if !strings.Contains(err.Error(), "in sync with leader") || time.Now().After(deadline) {
					t.Fatalf("root promotes through a follower: %v", err)
				}
				time.Sleep(100 * time.Millisecond)
			}
			if got := ask("reader", false, "r/1"); got != "OK " {
				t.Errorf("reader of the new voter: %s", got)
			}
			if token := loginAt(t, learner, "writer"); token == "" {
				t.Error("no token of the new voter")
			}
		})
	}
}

// Members of both kinds with one key take each other's tokens.
func TestAuthJWTMixedCluster(t *testing.T) {
	private, public, _ := jwtKeys(t, "ES256")
	clusterFlags = append(clusterFlags, "--auth-token=jwt,sign-method=ES256,pub-key="+public+",priv-key="+private)
	defer func() { clusterFlags = clusterFlags[:len(clusterFlags)-1] }()
	c := newCluster(t, reference, ours, ours)
	a := &authTarget{t: t, member: c.members[0], tokens: map[string]string{}}
	conn, err := grpc.NewClient(strings.TrimPrefix(a.member.client, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a.conn = conn
	a.setUp(c.dial(c.members[1]))
	for i, m := range c.members {
		token := loginAt(t, m, "writer")
		for j, other := range c.members {
			o := other.dial()
			ctx := metadata.AppendToOutgoingContext(timeout(t), "token", token)
			if _, err := o.Put(ctx, "w/1", "y"); err != nil {
				t.Errorf("token of member %d at member %d: %v", i, j, err)
			}
			if _, err := o.Put(ctx, "secret", "y"); err == nil {
				t.Errorf("token of member %d at member %d writes what it may not", i, j)
			}
			o.Close()
		}
	}
}
