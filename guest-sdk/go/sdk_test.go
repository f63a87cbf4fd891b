package waterspout

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestQueryArgumentsAreDecodedAsTornadoDoes(t *testing.T) {
	for _, each := range []struct {
		query, name string
		want        []string
	}{
		{"a=1&b=2&a=3", "a", []string{"1", "3"}},
		{"greeting=gr%C3%BC%c3%9f+dich", "greeting", []string{"grüß dich"}},
		{"na%20me=x", "na me", []string{"x"}},
		{"a=b=c", "a", []string{"b=c"}},
		{"a=1", "b", nil},
		{"", "", nil},
		{"a=&&b", "a", []string{""}},
		{"=x", "", []string{"x"}},
		{"a=100%", "a", []string{"100%"}},
		{"a=%zz%4", "a", []string{"%zz%4"}},
		{"a=%+1", "a", []string{"% 1"}},
		{"a=%ff%C3%A9", "a", []string{"\uFFFDé"}},
		{"a=%20x%00y%1bz%20", "a", []string{"x y z"}},
		{"a=1%0A2", "a", []string{"1\n2"}},
	} {
		if got := queryValues(each.query, each.name); !reflect.DeepEqual(got, each.want) {
			t.Errorf("%s of %q: %q, not %q", each.name, each.query, got, each.want)
		}
	}
}

func TestADelayIsRoundedUpAndBounded(t *testing.T) {
	for delay, want := range map[time.Duration]uint32{
		-time.Second: 0, 0: 0, time.Nanosecond: 1, 1500 * time.Microsecond: 2, 0x7fffffff * time.Millisecond: 0x7fffffff,
	} {
		if ms, err := milliseconds(delay); err != nil || ms != want {
			t.Errorf("%v: %d, %v", delay, ms, err)
		}
	}
	if _, err := milliseconds(0x80000000 * time.Millisecond); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
}

func TestMessagesAreTextBinaryOrJSON(t *testing.T) {
	for _, each := range []struct {
		value any
		want  Message
	}{
		{"hé", TextMessage("hé")},
		{[]byte{0, 255}, BinaryMessage([]byte{0, 255})},
		{BinaryMessage([]byte("x")), BinaryMessage([]byte("x"))},
		{map[string]int{"tick": 7}, TextMessage(`{"tick":7}`)},
	} {
		if got, err := messageOf(each.value); err != nil || !reflect.DeepEqual(got, each.want) {
			t.Errorf("%v: %v, %v", each.value, got, err)
		}
	}
	for _, bad := range []any{"\xff", make(chan int), TextMessage("\xff")} {
		if _, err := messageOf(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestEveryErrorIsOneFamilyAndASentence(t *testing.T) {
	for kind := range sentences {
		err := error(&Error{Kind: kind, Detail: "why", Status: 404})
		if !errors.Is(err, &Error{Kind: kind}) || errors.Is(err, &Error{Kind: "other"}) {
			t.Errorf("%s is not itself", kind)
		}
		if text := err.Error(); len(text) < 15 || !strings.HasSuffix(text, ": why") {
			t.Errorf("%q", text)
		}
	}
	if text := (&Error{Kind: KindHTTP, Status: 404}).Error(); text != "the server did not accept: status 404" {
		t.Error(text)
	}
}

// fake is an open connection, which notes what is written.
type fake struct {
	connectionHandle
	name    string
	written []string
}

func (f *fake) id() string { return f.name }

func (f *fake) writeMessage(message Message) error {
	f.written = append(f.written, message.String())
	return nil
}

type counter struct {
	Base
	Messages int
	Notes    map[string][]byte
	Peer     *Connection
}

func exportForTest[T any, P interface {
	*T
	Handler
}](t *testing.T) {
	exported = nil
	Export[T, P]()
	t.Cleanup(func() { exported = nil; endOfResuming() })
}

func TestExportedFieldsSurviveASwap(t *testing.T) {
	exportForTest[counter](t)
	old := &counter{Messages: 3, Notes: map[string][]byte{"a": {0, 255}}}
	old.base().connection = &Connection{handle: &fake{name: "c1"}}
	old.Peer = old.Connection()
	state, can := suspendHandler(old)
	if !can {
		t.Fatal("it can be suspended")
	}
	handle := &fake{name: "c1"}
	handler, err := resumeHandler(&Request{}, handle, state)
	if err != nil {
		t.Fatal(err)
	}
	resumed := handler.(*counter)
	if resumed.Messages != 3 || !reflect.DeepEqual(resumed.Notes, old.Notes) {
		t.Errorf("%+v", resumed)
	}
	if err := resumed.Peer.WriteMessage("to myself"); err != nil || len(handle.written) != 1 {
		t.Errorf("%v, %v", err, handle.written)
	}
}

func TestFieldsThatWereAddedAndRemovedDoNoHarm(t *testing.T) {
	exportForTest[counter](t)
	handler, err := resumeHandler(&Request{}, &fake{name: "c1"}, []byte(`{"Messages":1,"Gone":{"x":[1]}}`))
	if err != nil || handler.(*counter).Messages != 1 || handler.(*counter).Notes != nil {
		t.Errorf("%+v, %v", handler, err)
	}
	if _, err = resumeHandler(&Request{}, &fake{name: "c1"}, nil); err != nil {
		t.Errorf("an older version that had nothing to leave: %v", err)
	}
	if _, err = resumeHandler(&Request{}, &fake{name: "c1"}, []byte(`{"Messages":"x"}`)); err == nil ||
		!strings.Contains(err.Error(), "counter cannot be resumed") {
		t.Errorf("%v", err)
	}
}

func TestAFieldThatWouldBeLostIsNamed(t *testing.T) {
	type hidden struct {
		Base
		count int
	}
	type tagged struct {
		Base
		cache map[string]int `waterspout:"-"`
	}
	type channel struct {
		Base
		Fine  int
		Ready chan int
	}
	if _, err := stateOf(&hidden{count: 1}); err == nil || !strings.Contains(err.Error(), "count") {
		t.Errorf("%v", err)
	}
	if state, err := stateOf(&tagged{cache: nil}); err != nil || string(state) != "{}" {
		t.Errorf("%s, %v", state, err)
	}
	if _, err := stateOf(&channel{}); err == nil || !strings.Contains(err.Error(), "Ready") {
		t.Errorf("%v", err)
	}
}

type baggage struct {
	name string
	Size int
}

type plain struct{ Size int }

type secretive struct{ secret string }

func (s *secretive) MarshalJSON() ([]byte, error) { return json.Marshal(s.secret) }

func TestAFieldThatWouldBeLostDeeperDownIsNamedByItsPath(t *testing.T) {
	type loop struct {
		Next *loop
		Bags []baggage
	}
	for path, lossy := range map[string]any{
		"User.name":            &struct{ User baggage }{},
		"User.name ":           &struct{ User *baggage }{},
		"List[].name":          &struct{ List []baggage }{},
		"Pair[].name":          &struct{ Pair [2]baggage }{},
		"Map[].name":           &struct{ Map map[string]baggage }{},
		"Deep.Next.Bags[]":     &struct{ Deep struct{ Next loop } }{},
		"baggage.name":         &struct{ baggage }{},
		"Any.name":             &struct{ Any any }{baggage{}},
		"List[1].name":         &struct{ List []any }{[]any{1, &baggage{}}},
		"Values[].secret":      &struct{ Values map[string]secretive }{},
		"[].name":              &[]baggage{},
		"Text":                 &struct{ Text string }{"\xff"},
		"Notes[0].Text":        &struct{ Notes []struct{ Text string } }{[]struct{ Text string }{{"a\xc3"}}},
		`Texts["key"]`:         &struct{ Texts map[string]string }{map[string]string{"key": "\xed\xa0\x80"}},
		`Texts["\xff"]`:        &struct{ Texts map[string]string }{map[string]string{"\xff": ""}},
		"Any ":                 &struct{ Any any }{"\xff"},
		"the field Link.User.": &struct{ Link url.URL }{},
	} {
		if _, err := stateOf(lossy); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(path)) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for want, whole := range map[string]any{
		`{"At":"0001-01-01T00:00:00Z"}`: &struct{ At time.Time }{},
		`{"Size":3}`:                    &struct{ plain }{plain{3}},
		`{"Values":["a"],"Next":null}`: &struct {
			Values []secretive
			Next   *secretive
		}{Values: []secretive{{"a"}}},
		`{"Bytes":"/w==","Text":"grüß"}`: &struct {
			Bytes []byte
			Text  string
		}{[]byte("\xff"), "grüß"},
		`{}`: &struct {
			Cache *baggage `json:"-"`
			other baggage  `waterspout:"-"`
		}{Cache: &baggage{}},
	} {
		if state, err := stateOf(whole); err != nil || string(state) != want {
			t.Errorf("%s, %v; want %s", state, err, want)
		}
	}
}

func TestWhatIsSharedAndWouldBeLostIsNamed(t *testing.T) {
	shared = nil
	t.Cleanup(func() { shared = nil })
	Share(&map[string]*baggage{})
	Share(&map[string]int{})
	if shared[0].name == shared[1].name {
		t.Errorf("both are %q", shared[0].name)
	}
	if _, can := suspendShared(); can {
		t.Error("names would be lost")
	}
}

// A host that lets handlers open connections, which are nothing but handles.
type dialling struct {
	nobody
	opened, dropped int
}

type dialledTo struct {
	clientHandle
	host *dialling
	name string
}

func (d *dialling) start(string, *connectOptions) (clientHandle, error) {
	d.opened++
	return &dialledTo{host: d, name: fmt.Sprint("u", d.opened)}, nil
}

func (d *dialledTo) id() string                            { return d.name }
func (d *dialledTo) readMessage(*uint32) (*Message, error) { return nil, nil }
func (d *dialledTo) closeFrame() *CloseFrame               { return &CloseFrame{4000, "enough"} }
func (d *dialledTo) drop()                                 { d.host.dropped++ }

func TestAConnectionThatHasEndedKeepsNoHandle(t *testing.T) {
	there := &dialling{}
	host, clients = there, map[string]*ClientConnection{}
	t.Cleanup(func() { host, clients = nobody{}, nil })
	ends := []ClientEvent{ClientFailed{ErrTimeout}, ClientClosed{&CloseFrame{4001, "bye"}}, ClientClosed{nil}}
	for i := range 100 {
		client, err := Start("ws://x", nil)
		if err != nil || Client(client.ID()) != client {
			t.Fatal(err)
		}
		forgetEnded(client.ID(), ClientOpened{})
		if Client(client.ID()) != client {
			t.Fatal("it is open")
		}
		end := ends[i%len(ends)]
		forgetEnded(client.ID(), end)
		if closed, is := end.(ClientClosed); is && client.CloseFrame() != closed.Frame {
			t.Errorf("%v", client.CloseFrame())
		}
		if err := client.WriteMessage("too late"); !errors.Is(err, ErrClosed) || client.ID() == "" {
			t.Errorf("%v", err)
		}
	}
	read, _ := Start("ws://x", nil)
	copied := &ClientConnection{id: read.ID(), same: read}
	// Twice: the second time nobody is asked.
	for range 2 {
		if message, err := copied.ReadMessage(Forever); message != nil || err != nil {
			t.Errorf("%v, %v", message, err)
		}
	}
	if frame := copied.CloseFrame(); frame == nil || frame.Code != 4000 {
		t.Errorf("%v", frame)
	}
	if there.opened != 101 || there.dropped != 101 || len(clients) != 0 {
		t.Errorf("%d opened, %d dropped, %d kept", there.opened, there.dropped, len(clients))
	}
}

func TestAnErrorOfPrepareIsAnAnswer(t *testing.T) {
	rejection := Reject(418, "teapot")
	if answer := rejectionOf(&counter{}, fmt.Errorf("why: %w", rejection)); answer != rejection {
		t.Errorf("%+v", answer)
	}
	var none *Rejection
	for _, err := range []error{errors.New("no database"), none} {
		if answer := rejectionOf(&counter{}, err); answer.Status != 500 || strings.Contains(string(answer.Body), "database") {
			t.Errorf("%+v", answer)
		}
	}
}

type testRoom struct {
	Messages int
	People   map[string]*Connection
}

func TestWhatIsSharedSurvivesASwapWithItsConnections(t *testing.T) {
	exportForTest[counter](t)
	shared = nil
	t.Cleanup(func() { shared = nil })
	room := Share(&testRoom{Messages: 7, People: map[string]*Connection{"c1": {id: "c1"}, "c2": {id: "c2"}}})
	state, can := suspendShared()
	if !can {
		t.Fatal("it can be suspended")
	}
	*room = testRoom{}
	if err := resumeShared(state); err != nil || room.Messages != 7 || len(room.People) != 2 {
		t.Fatalf("%+v, %v", room, err)
	}
	if err := room.People["c1"].WriteMessage("early"); !errors.Is(err, ErrClosed) {
		t.Errorf("before its handler is there: %v", err)
	}
	handle := &fake{name: "c1"}
	handler, err := resumeHandler(&Request{}, handle, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := room.People["c1"].WriteMessage("now"); err != nil || len(handle.written) != 1 {
		t.Errorf("%v, %v", err, handle.written)
	}
	endOfResuming()
	handler.base().connection.handle = nil
	if err := room.People["c1"].WriteMessage("ended"); !errors.Is(err, ErrClosed) {
		t.Errorf("a connection that has ended: %v", err)
	}
	if err := room.People["c2"].WriteMessage("gone"); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
}

func TestWithoutAConnectionEverythingIsClosed(t *testing.T) {
	handler := &counter{}
	for name, err := range map[string]error{
		"write":     handler.WriteMessage("x"),
		"flush":     handler.Flush(),
		"ping":      handler.Ping(nil),
		"close":     handler.Close(1000, ""),
		"nodelay":   handler.SetNodelay(true),
		"subscribe": handler.Subscribe("x"),
		"timer":     handler.SetTimer(0, 0),
		"header":    handler.Request().SetResponseHeader("x-a", "b"),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if handler.ID() != "" || handler.BufferedAmount() != 0 || handler.Request().URI() != "" {
		t.Error("it is empty")
	}
}

func TestACloseThatCannotBeSaidIsInvalid(t *testing.T) {
	for _, code := range []int{-1, 65536} {
		if _, _, err := closing(code, ""); !errors.Is(err, ErrInvalid) {
			t.Errorf("%d: %v", code, err)
		}
	}
	if code, reason, err := closing(NoCode, ""); code != nil || reason != nil || err != nil {
		t.Errorf("%v, %v, %v", code, reason, err)
	}
}

func TestWhatWasAllocatedIsLookedAtBeforeItIsMuch(t *testing.T) {
	untilDue := func(w *watch, bytes int) int {
		calls := 1
		for !w.isDue(bytes) {
			calls++
		}
		return calls
	}
	allocated := uint64(0)
	quiet := &watch{every: 1}
	for range 10 {
		untilDue(quiet, 100)
		allocated += 1000
		quiet.looked(allocated)
	}
	if calls := untilDue(quiet, 100); calls != mostBetweenLooks {
		t.Errorf("looked at after %d calls that allocate little", calls)
	}
	quiet.looked(allocated)
	if calls := untilDue(quiet, lookAfterBytes/2); calls != 2 {
		t.Errorf("looked at after %d large messages", calls)
	}
	// Much is allocated, and nothing of it said.
	quiet.looked(allocated + leastBetween)
	if calls := untilDue(quiet, 0); calls != 1 {
		t.Errorf("looked at after %d calls that allocate much", calls)
	}
}

func TestJSONMayBeNestedSoDeeplyAndNotALevelMore(t *testing.T) {
	for _, brackets := range [][2]string{{"[", "]"}, {`{"a":[`, "]}"}} {
		levels := deepest / len(brackets[1])
		nested := strings.Repeat(brackets[0], levels) + strings.Repeat(brackets[1], levels)
		var into any
		if err := TextMessage(nested).JSON(&into); err != nil {
			t.Error(err)
		}
		if err := TextMessage("[" + nested + "]").JSON(&into); !errors.Is(err, ErrInvalid) {
			t.Errorf("a level more: %v", err)
		}
	}
	text := `["` + strings.Repeat(`[{\"`, 2*deepest) + `"]`
	var into []string
	if err := TextMessage(text).JSON(&into); err != nil || len(into) != 1 {
		t.Errorf("brackets in a string are text: %v", err)
	}
}
