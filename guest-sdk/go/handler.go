package waterspout

import "time"

// Handler is what handles one connection. [Base] has all of it with defaults: embed that, and define what is wanted.
//
// For each connection, in this order: Initialize, Prepare, CheckOrigin if the request names an origin, SelectSubprotocol,
// CompressionOptions, the 101, Open, then events as they come, one at a time, and OnClose once. A panic in any of them ends every
// connection of the instance with 1011.
type Handler interface {
	// Initialize is called first, but not where a new version takes over: see [Suspender]. By default it does nothing.
	Initialize(request *Request)
	// Prepare may end the handshake: with a *[Rejection] as its error, which is the answer. Another error is 500, and in the log.
	// Headers of the 101 may be set from here on, see [Request.SetResponseHeader]. By default nil.
	Prepare() error
	// CheckOrigin tells whether pages of this origin may connect; if not, the answer is 403. It is asked only if the request names an
	// origin that the operator's list, if there is one, allows. By default [Request.OriginAllowed].
	CheckOrigin(origin string) bool
	// SelectSubprotocol chooses one of those that are offered, or "". It is asked once, also if none is offered. By default "".
	SelectSubprotocol(offered []string) string
	// CompressionOptions tells whether and how messages are compressed if the peer offers it; nil, the default, if they are not.
	CompressionOptions() *CompressionOptions
	// Open is called when the connection is open. No message is delivered before it returns.
	Open()
	// OnMessage is called for each message.
	OnMessage(message Message)
	// OnPing is called for each ping; the pong has been sent.
	OnPing(data []byte)
	// OnPong is called for each pong, usually after a [Connection.Ping].
	OnPong(data []byte)
	// OnWritable is called once after an [ErrBufferFull], when half the queue is free again.
	OnWritable()
	// OnTimer is called when a timer that was set with this token ran out, see [Connection.SetTimer].
	OnTimer(token uint32)
	// OnClientEvent is called for what happens on a connection that this handler made by [Start].
	OnClientEvent(id string, event ClientEvent)
	// OnClose is called when the connection has ended. The frame is the peer's, also as its answer to our Close; nil if none came.
	OnClose(frame *CloseFrame)

	base() *Base
}

// CompressionOptions are settings of permessage-deflate (RFC 7692); the zero value takes the host's defaults.
type CompressionOptions struct {
	// 0 (none) to 9 (smallest); nil: the host's default. [Level] makes one.
	Level *uint8
	// 1 (least memory) to 9 (fastest); nil: the host's default.
	MemLevel *uint8
}

// Level is a number for [CompressionOptions].
func Level(level uint8) *uint8 { return &level }

// Base is to be embedded in a handler's struct: it has a default for each method of [Handler], and those of the handler's [Connection].
// Its methods are not called by methods that take their place.
type Base struct {
	connection *Connection
}

func (b *Base) base() *Base { return b }

// Initialize does nothing.
func (b *Base) Initialize(*Request) {}

// Prepare accepts.
func (b *Base) Prepare() error { return nil }

// CheckOrigin accepts the origins that the operator lists; by default, the same host and port.
func (b *Base) CheckOrigin(origin string) bool { return b.Request().OriginAllowed(origin) }

// SelectSubprotocol selects none.
func (b *Base) SelectSubprotocol([]string) string { return "" }

// CompressionOptions leaves messages as they are.
func (b *Base) CompressionOptions() *CompressionOptions { return nil }

// Open does nothing.
func (b *Base) Open() {}

// OnMessage does nothing.
func (b *Base) OnMessage(Message) {}

// OnPing does nothing.
func (b *Base) OnPing([]byte) {}

// OnPong does nothing.
func (b *Base) OnPong([]byte) {}

// OnWritable does nothing.
func (b *Base) OnWritable() {}

// OnTimer does nothing.
func (b *Base) OnTimer(uint32) {}

// OnClientEvent does nothing.
func (b *Base) OnClientEvent(string, ClientEvent) {}

// OnClose does nothing.
func (b *Base) OnClose(*CloseFrame) {}

// Connection is the handler's own, to keep in what connections share; see [Share].
func (b *Base) Connection() *Connection {
	if b.connection == nil {
		// In a test of the handler's, say.
		b.connection = &Connection{}
	}
	return b.connection
}

// Request is the request that asked for the connection.
func (b *Base) Request() *Request { return b.Connection().Request() }

// ID is [Connection.ID].
func (b *Base) ID() string { return b.Connection().ID() }

// SelectedSubprotocol is [Connection.SelectedSubprotocol].
func (b *Base) SelectedSubprotocol() string { return b.Connection().SelectedSubprotocol() }

// WriteMessage is [Connection.WriteMessage].
func (b *Base) WriteMessage(message any) error { return b.Connection().WriteMessage(message) }

// Flush is [Connection.Flush].
func (b *Base) Flush() error { return b.Connection().Flush() }

// BufferedAmount is [Connection.BufferedAmount].
func (b *Base) BufferedAmount() int { return b.Connection().BufferedAmount() }

// Ping is [Connection.Ping].
func (b *Base) Ping(data []byte) error { return b.Connection().Ping(data) }

// Close is [Connection.Close].
func (b *Base) Close(code int, reason string) error { return b.Connection().Close(code, reason) }

// SetNodelay is [Connection.SetNodelay].
func (b *Base) SetNodelay(value bool) error { return b.Connection().SetNodelay(value) }

// Subscribe is [Connection.Subscribe].
func (b *Base) Subscribe(topic string) error { return b.Connection().Subscribe(topic) }

// Unsubscribe is [Connection.Unsubscribe].
func (b *Base) Unsubscribe(topic string) { b.Connection().Unsubscribe(topic) }

// SetTimer is [Connection.SetTimer].
func (b *Base) SetTimer(token uint32, delay time.Duration) error {
	return b.Connection().SetTimer(token, delay)
}

// ClearTimer is [Connection.ClearTimer].
func (b *Base) ClearTimer(token uint32) { b.Connection().ClearTimer(token) }
