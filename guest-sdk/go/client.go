package waterspout

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// ConnectOptions say how to connect; what is zero is the host's default.
type ConnectOptions struct {
	// Sent beside those of the handshake.
	Headers []Header
	// Offered, the preferred one first.
	Subprotocols []string
	// How long it may take until the connection is open.
	ConnectTimeout time.Duration
	// Bytes in one message, either way, if that is less than the operator allows.
	MaxMessageSize uint32
	// The server is pinged so often.
	PingInterval time.Duration
	// How long the server may take to answer such a ping, at most the interval; Forever: no pong is waited for.
	PingTimeout time.Duration
	// Offered, if it is there.
	Compression *CompressionOptions
}

// Forever is no limit of time.
const Forever time.Duration = -1

// ClientConnection is a connection that a handler opened itself. It belongs to the handler whose method opened it: it ends by Close, by
// the server, or with that handler (1001). Once its handler has heard of the end, by OnClientEvent or ReadMessage, the host knows it no
// more; ID and CloseFrame stay.
//
// It can be kept in what a handler leaves to its next version ([encoding/json] takes its id), and is the same connection there. If it has
// gone meanwhile, it is like one that the server closed.
type ClientConnection struct {
	// nil once it has ended: who opens one after the other keeps none of the host's handles.
	handle clientHandle
	id     string
	// What it ended with.
	frame *CloseFrame
	// Those of its handler, in which it is until then.
	among map[string]*ClientConnection
	// The first one with that id, for others that were read from what an older version left.
	same *ClientConnection
}

// itself is the first one with its id.
func (c *ClientConnection) itself() *ClientConnection {
	if c.same != nil {
		return c.same
	}
	return c
}

// opened is the host's side of it, or nil.
func (c *ClientConnection) opened() clientHandle { return c.itself().handle }

// ended gives the host's handle back, and keeps how it ended.
func (c *ClientConnection) ended(frame *CloseFrame) {
	c.frame = frame
	c.handle.drop()
	c.handle = nil
	delete(c.among, c.id)
}

// forgetEnded gives back the handle of a connection of which no more will be heard, once its handler has heard that.
func forgetEnded(id string, event ClientEvent) {
	client := clients[id]
	if client == nil || client.handle == nil {
		return
	}
	switch event := event.(type) {
	case ClientFailed:
		client.ended(nil)
	case ClientClosed:
		client.ended(event.Frame)
	}
}

// What the host does for such a connection.
type clientHandle interface {
	id() string
	selectedSubprotocol() (string, bool)
	readMessage(timeout *uint32) (*Message, error)
	writeMessage(Message) error
	flush() error
	ping([]byte) error
	close(code *uint16, reason *string) error
	closeFrame() *CloseFrame
	drop()
}

// Connect is Tornado's websocket_connect: it connects to where the operator allows it, and waits until the connection is open;
// ReadMessage follows. It is for handlers with an instance of their own: in a shared one all wait. The options may be nil.
//
// [ErrClosed], [ErrTimeout], [ErrLimit], [ErrDenied], [ErrInvalidURL], [ErrNetwork], [ErrHTTP], [ErrProtocol].
func Connect(url string, options *ConnectOptions) (*ClientConnection, error) {
	return dial(url, options, host.connect)
}

// Start begins to connect and returns at once: OnClientEvent brings everything else. What is known at once of Connect's errors.
func Start(url string, options *ConnectOptions) (*ClientConnection, error) {
	return dial(url, options, host.start)
}

func dial(url string, options *ConnectOptions, open func(string, *connectOptions) (clientHandle, error)) (*ClientConnection, error) {
	if !utf8.ValidString(url) {
		return nil, &Error{Kind: KindInvalidURL, Detail: "it is not UTF-8"}
	}
	wanted, err := options.checked()
	if err != nil {
		return nil, err
	}
	handle, err := open(url, wanted)
	if err != nil {
		return nil, err
	}
	return newClient(handle), nil
}

// ConnectOptions as the host takes them.
type connectOptions struct {
	*ConnectOptions
	connectTimeout, maxMessageSize, pingInterval, pingTimeout *uint32
}

func (o *ConnectOptions) checked() (*connectOptions, error) {
	if o == nil {
		o = &ConnectOptions{}
	}
	checked := &connectOptions{ConnectOptions: o}
	for _, header := range o.Headers {
		if err := checkText("a header", header.Name+header.Value); err != nil {
			return nil, err
		}
	}
	for _, subprotocol := range o.Subprotocols {
		if err := checkText("a subprotocol", subprotocol); err != nil {
			return nil, err
		}
	}
	for _, time := range []struct {
		wanted time.Duration
		into   **uint32
	}{{o.ConnectTimeout, &checked.connectTimeout}, {o.PingInterval, &checked.pingInterval}, {o.PingTimeout, &checked.pingTimeout}} {
		if time.wanted == 0 {
			continue
		}
		// Forever is 0 to the host.
		ms, err := milliseconds(time.wanted)
		if err != nil {
			return nil, err
		}
		*time.into = &ms
	}
	if o.MaxMessageSize != 0 {
		size := min(o.MaxMessageSize, 1<<31-1)
		checked.maxMessageSize = &size
	}
	return checked, nil
}

// The client connections of the handler whose event it is, by their ids, so that one id is one pointer.
var clients map[string]*ClientConnection

func newClient(handle clientHandle) *ClientConnection {
	client := &ClientConnection{handle: handle, id: handle.id()}
	client.join(clients)
	return client
}

func (c *ClientConnection) join(among map[string]*ClientConnection) {
	if among != nil {
		c.among = among
		among[c.id] = c
	}
}

// Client is this handler's own connection with that id, also after a swap; nil if there is none.
func Client(id string) *ClientConnection {
	if client := clients[id]; client != nil && client.handle != nil {
		return client
	}
	if !utf8.ValidString(id) {
		return nil
	}
	handle := host.client(id)
	if handle == nil {
		return nil
	}
	return newClient(handle)
}

// ID is what OnClientEvent and [Client] call it.
func (c *ClientConnection) ID() string { return c.id }

// SelectedSubprotocol is what the server selected, or ""; "" also once the connection has ended.
func (c *ClientConnection) SelectedSubprotocol() string {
	if c.opened() == nil {
		return ""
	}
	name, _ := c.opened().selectedSubprotocol()
	return name
}

// ReadMessage waits for the next message, at most so long, or [Forever]; nil once the connection is closed, and CloseFrame says how.
// [ErrTimeout]; [ErrClosed], the handler's own connection has ended; [ErrInvalid], made by Start.
func (c *ClientConnection) ReadMessage(timeout time.Duration) (*Message, error) {
	if c.opened() == nil {
		return nil, nil
	}
	var most *uint32
	if timeout >= 0 {
		ms, err := milliseconds(timeout)
		if err != nil {
			return nil, err
		}
		most = &ms
	}
	collectIfDue(0)
	message, err := c.opened().readMessage(most)
	if message == nil && err == nil {
		client := c.itself()
		client.ended(client.handle.closeFrame())
	}
	return message, err
}

// WriteMessage is as [Connection.WriteMessage]; no event tells when there is room after an ErrBufferFull.
func (c *ClientConnection) WriteMessage(message any) error {
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

// Flush is as [Connection.Flush].
func (c *ClientConnection) Flush() error {
	if c.opened() == nil {
		return ErrClosed
	}
	return c.opened().flush()
}

// Ping is as [Connection.Ping]; in Start's style a [ClientPong] brings the data back.
func (c *ClientConnection) Ping(data []byte) error {
	if c.opened() == nil {
		return ErrClosed
	}
	return c.opened().ping(data)
}

// Close is as [Connection.Close]. A connection that is not open yet is given up.
func (c *ClientConnection) Close(code int, reason string) error {
	if c.opened() == nil {
		return ErrClosed
	}
	number, text, err := closing(code, reason)
	if err != nil {
		return err
	}
	return c.opened().close(number, text)
}

// CloseFrame is what the server closed with, once it has; else nil.
func (c *ClientConnection) CloseFrame() *CloseFrame {
	if c.opened() == nil {
		return c.itself().frame
	}
	return c.opened().closeFrame()
}

// MarshalJSON is its id.
func (c *ClientConnection) MarshalJSON() ([]byte, error) { return json.Marshal(c.id) }

// UnmarshalJSON finds the connection with that id.
func (c *ClientConnection) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, &c.id); err != nil {
		return err
	}
	if resuming != nil && resuming.isShared {
		// The host knows it only when its handler is there.
		resuming.clients = append(resuming.clients, c)
		return nil
	}
	c.find()
	return nil
}

func (c *ClientConnection) find() {
	if known := clients[c.id]; known != nil && known != c {
		c.same = known
		return
	}
	if handle := host.client(c.id); handle != nil {
		c.handle = handle
		c.join(clients)
	}
}

// ClientEvent is what can happen on a connection made by [Start]: a [ClientOpened], [ClientFailed], [ClientMessage], [ClientPong] or
// [ClientClosed].
type ClientEvent interface{ isClientEvent() }

// ClientOpened says that it is open.
type ClientOpened struct{}

// ClientFailed says that it never will be.
type ClientFailed struct{ Err error }

// ClientMessage brings a message.
type ClientMessage struct{ Message Message }

// ClientPong brings a pong.
type ClientPong struct{ Data []byte }

// ClientClosed says that it has ended; the frame is nil if the server vanished without one.
type ClientClosed struct{ Frame *CloseFrame }

func (ClientOpened) isClientEvent()  {}
func (ClientFailed) isClientEvent()  {}
func (ClientMessage) isClientEvent() {}
func (ClientPong) isClientEvent()    {}
func (ClientClosed) isClientEvent()  {}
