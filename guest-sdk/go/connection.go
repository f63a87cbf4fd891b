package waterspout

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// Connection is an accepted connection. In a shared instance handlers write to each other's connections by pointers that they leave in
// what they share.
//
// Before Open and after the end its methods fail with [ErrClosed]. It can be kept in what a handler, or what handlers share, leaves to
// the next version ([encoding/json] takes its id), and is the same connection there; that of another handler is closed until that has
// been resumed, too, which is before any event.
type Connection struct {
	request *Request
	// nil before Open, after the end, and until its handler has been resumed.
	handle connectionHandle
	// Known without asking the host.
	id string
	// The handler's own, for one that was read from what an older version left.
	own *Connection
}

// opened is the host's side of it, or nil.
func (c *Connection) opened() connectionHandle {
	if c.own != nil {
		return c.own.handle
	}
	return c.handle
}

// What the host does for a connection.
type connectionHandle interface {
	id() string
	selectedSubprotocol() (string, bool)
	writeMessage(Message) error
	flush() error
	bufferedAmount() uint32
	ping([]byte) error
	close(code *uint16, reason *string) error
	setNodelay(bool) error
	subscribe(string) error
	unsubscribe(string)
	setTimer(token, delay uint32) error
	clearTimer(token uint32)
	drop()
}

// ID is unguessable, and the same for the whole life of the connection, also when its handler is replaced. "" before Open.
func (c *Connection) ID() string {
	if c.id == "" && c.opened() != nil {
		c.id = c.opened().id()
	}
	return c.id
}

// Request is the request that asked for the connection.
func (c *Connection) Request() *Request {
	if c.own != nil {
		return c.own.Request()
	}
	if c.request == nil {
		c.request = &Request{}
	}
	return c.request
}

// SelectedSubprotocol is what SelectSubprotocol selected, or "".
func (c *Connection) SelectedSubprotocol() string {
	if c.opened() == nil {
		return ""
	}
	name, _ := c.opened().selectedSubprotocol()
	return name
}

// WriteMessage queues a message and returns at once: a string as text, a []byte as binary, a [Message] as what it is, and anything else
// as JSON text, as Tornado's write_message sends a dict. Messages arrive whole and in order.
//
// [ErrClosed]; [ErrBufferFull], nothing was queued; [ErrLimit], it is larger than may be; [ErrInvalid], text that is not UTF-8, or a
// value that JSON cannot say.
func (c *Connection) WriteMessage(message any) error {
	made, err := messageOf(message)
	if err != nil {
		return err
	}
	if c.opened() == nil {
		return ErrClosed
	}
	defer collectIfDue(len(made.Data))
	return c.opened().writeMessage(made)
}

// Flush waits until all that is queued has been handed to the network; in a shared instance, all wait. [ErrClosed], [ErrTimeout].
func (c *Connection) Flush() error {
	if c.opened() == nil {
		return ErrClosed
	}
	return c.opened().flush()
}

// BufferedAmount is how many bytes are queued and not yet handed to the network.
func (c *Connection) BufferedAmount() int {
	if c.opened() == nil {
		return 0
	}
	return int(c.opened().bufferedAmount())
}

// Ping sends a ping with at most 125 bytes. [ErrClosed], [ErrBufferFull], [ErrInvalid].
func (c *Connection) Ping(data []byte) error {
	if c.opened() == nil {
		return ErrClosed
	}
	return c.opened().ping(data)
}

// NoCode is for Close: a frame without a code.
const NoCode = 0

// Close starts the closing handshake, after what is queued. With [NoCode] the reason must be "", or the code is 1000. A second call
// changes nothing. From now on writes are ErrClosed, messages still arrive, and OnClose brings the peer's answer.
//
// [ErrClosed], the connection has ended; [ErrInvalid]: a code below 1000, above 4999, or 1005, 1006 or 1015, or a reason over 123 bytes.
func (c *Connection) Close(code int, reason string) error {
	if c.opened() == nil {
		return ErrClosed
	}
	number, text, err := closing(code, reason)
	if err != nil {
		return err
	}
	return c.opened().close(number, text)
}

func closing(code int, reason string) (*uint16, *string, error) {
	if code < 0 || code > math.MaxUint16 {
		return nil, nil, &Error{Kind: KindInvalid, Detail: fmt.Sprintf("a close code of %d", code)}
	}
	if err := checkText("the reason", reason); err != nil {
		return nil, nil, err
	}
	var number *uint16
	var text *string
	if code != NoCode {
		short := uint16(code)
		number = &short
	}
	if reason != "" {
		text = &reason
	}
	return number, text, nil
}

// SetNodelay tells whether small frames are sent at once (TCP_NODELAY), or may wait for more. [ErrClosed].
func (c *Connection) SetNodelay(value bool) error {
	if c.opened() == nil {
		return ErrClosed
	}
	return c.opened().setNodelay(value)
}

// Subscribe has this connection sent what anybody publishes under topic, see [Publish]. [ErrClosed], [ErrLimit], [ErrDenied],
// [ErrInvalid].
func (c *Connection) Subscribe(topic string) error {
	if c.opened() == nil {
		return ErrClosed
	}
	if err := checkText("the topic", topic); err != nil {
		return err
	}
	return c.opened().subscribe(topic)
}

// Unsubscribe takes back Subscribe.
func (c *Connection) Unsubscribe(topic string) {
	if c.opened() != nil && utf8.ValidString(topic) {
		c.opened().unsubscribe(topic)
	}
}

// SetTimer calls OnTimer with token, once, after delay, which is rounded up to whole milliseconds; an earlier timer with that token is
// replaced. [ErrClosed]; [ErrLimit]; [ErrInvalid], over 24 days.
func (c *Connection) SetTimer(token uint32, delay time.Duration) error {
	if c.opened() == nil {
		return ErrClosed
	}
	ms, err := milliseconds(delay)
	if err != nil {
		return err
	}
	return c.opened().setTimer(token, ms)
}

// ClearTimer takes back SetTimer.
func (c *Connection) ClearTimer(token uint32) {
	if c.opened() != nil {
		c.opened().clearTimer(token)
	}
}

// MarshalJSON is its id.
func (c *Connection) MarshalJSON() ([]byte, error) { return json.Marshal(c.ID()) }

// UnmarshalJSON finds the connection with that id; only in what an older version left.
func (c *Connection) UnmarshalJSON(data []byte) error {
	var id string
	if err := json.Unmarshal(data, &id); err != nil {
		return err
	}
	if resuming == nil {
		return fmt.Errorf("a Connection can be read only from what an older version left")
	}
	resuming.await(id, c)
	return nil
}

// Rounded up, so that no timer comes early; the interface keeps numbers below 2^31.
func milliseconds(delay time.Duration) (uint32, error) {
	if delay < 0 {
		delay = 0
	}
	ms := int64(delay / time.Millisecond)
	if delay%time.Millisecond > 0 {
		ms++
	}
	if ms > math.MaxInt32 {
		return 0, &Error{Kind: KindInvalid, Detail: fmt.Sprintf("a time of %v, the most are %d ms", delay, math.MaxInt32)}
	}
	return uint32(ms), nil
}

// A host ends the instance that hands it text which is not UTF-8.
func checkText(what, text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	return &Error{Kind: KindInvalid, Detail: what + " is not UTF-8"}
}
