package waterspout

import (
	"math"
	"strings"
	"unsafe"

	exports "example.org/waterspout/internal/bindings/exports/export_waterspout_websocket_handler"
	state "example.org/waterspout/internal/bindings/exports/export_waterspout_websocket_shared_state"
	_ "example.org/waterspout/internal/bindings/exports/wit_exports"
	config "example.org/waterspout/internal/bindings/imports/wasi_config_store"
	client "example.org/waterspout/internal/bindings/imports/waterspout_websocket_client"
	connection "example.org/waterspout/internal/bindings/imports/waterspout_websocket_connection"
	handshake "example.org/waterspout/internal/bindings/imports/waterspout_websocket_handshake"
	topics "example.org/waterspout/internal/bindings/imports/waterspout_websocket_topics"
	types "example.org/waterspout/internal/bindings/imports/waterspout_websocket_types"
	wit "example.org/waterspout/internal/wit/types"
)

func init() {
	takeOverCollector()
	host = theHost{}
	exports.New = func(request *handshake.Request) exports.Methods { return begin(request) }
	exports.Resume = resume
	state.SuspendShared, state.ResumeShared = suspendCommon, resumeCommon
}

// ---- Values ----

func option[T any](value T, is bool) wit.Option[T] {
	if is {
		return wit.Some(value)
	}
	return wit.None[T]()
}

func optional[T any](value *T) wit.Option[T] {
	if value == nil {
		return wit.None[T]()
	}
	return wit.Some(*value)
}

// messageIn does not copy: nobody else has what the host has put there. Before the handler copies it there may be much to collect.
func messageIn(message types.Message) Message {
	var made Message
	if message.Tag() == types.Message_Text {
		text := message.Text()
		made = Message{Text, unsafe.Slice(unsafe.StringData(text), len(text))}
	} else {
		made = Message{Binary, message.Binary()}
	}
	collectIfDue(len(made.Data))
	return made
}

// messageOut does not copy: the host does, in the call.
func messageOut(message Message) types.Message {
	if message.Kind == Text {
		return types.MakeMessageText(unsafe.String(unsafe.SliceData(message.Data), len(message.Data)))
	}
	return types.MakeMessageBinary(message.Data)
}

func frameIn(frame wit.Option[types.CloseFrame]) *CloseFrame {
	if value, is := frame.Get(); is {
		return &CloseFrame{value.Code, value.Reason}
	}
	return nil
}

func failure(err types.Error) error {
	switch err.Tag() {
	case types.Error_Closed:
		return ErrClosed
	case types.Error_BufferFull:
		return ErrBufferFull
	case types.Error_Timeout:
		return ErrTimeout
	case types.Error_Limit:
		return &Error{Kind: KindLimit, Detail: err.Limit()}
	case types.Error_Denied:
		return ErrDenied
	default:
		return &Error{Kind: KindInvalid, Detail: err.Invalid()}
	}
}

func outcome(result wit.Result[wit.Unit, types.Error]) error {
	if result.Tag() == wit.ResultErr {
		return failure(result.Err())
	}
	return nil
}

func connectFailure(err client.ConnectError) error {
	switch err.Tag() {
	case client.ConnectError_Denied:
		return ErrDenied
	case client.ConnectError_Closed:
		return ErrClosed
	case client.ConnectError_Limit:
		return &Error{Kind: KindLimit, Detail: err.Limit()}
	case client.ConnectError_InvalidUrl:
		return &Error{Kind: KindInvalidURL, Detail: err.InvalidUrl()}
	case client.ConnectError_Network:
		return &Error{Kind: KindNetwork, Detail: err.Network()}
	case client.ConnectError_Timeout:
		return ErrTimeout
	case client.ConnectError_Http:
		return &Error{Kind: KindHTTP, Status: int(err.Http())}
	default:
		return &Error{Kind: KindProtocol, Detail: err.Protocol()}
	}
}

func compressionOut(options *CompressionOptions) wit.Option[types.CompressionOptions] {
	if options == nil {
		return wit.None[types.CompressionOptions]()
	}
	return wit.Some(types.CompressionOptions{Level: optional(options.Level), MemLevel: optional(options.MemLevel)})
}

func pairs(list []Header) []wit.Tuple2[string, string] {
	tuples := make([]wit.Tuple2[string, string], len(list))
	for i, header := range list {
		tuples[i] = wit.Tuple2[string, string]{F0: header.Name, F1: header.Value}
	}
	return tuples
}

// ---- What the host does ----

type theHost struct{}

func (theHost) publish(topic string, message Message) error {
	return outcome(topics.Publish(topic, messageOut(message)))
}

func (theHost) config(key string) (string, bool) {
	// Waterspout can always read its configuration.
	return config.Get(key).Ok().Get()
}

func (theHost) connect(url string, options *connectOptions) (clientHandle, error) {
	return dialled(client.Connect(url, wit.Some(optionsOut(options))))
}

func (theHost) start(url string, options *connectOptions) (clientHandle, error) {
	return dialled(client.Start(url, wit.Some(optionsOut(options))))
}

func (theHost) client(id string) clientHandle {
	if handle, is := client.Get(id).Get(); is {
		return clientOut{handle}
	}
	return nil
}

func dialled(result wit.Result[*client.ClientConnection, client.ConnectError]) (clientHandle, error) {
	if result.Tag() == wit.ResultErr {
		return nil, connectFailure(result.Err())
	}
	return clientOut{result.Ok()}, nil
}

func optionsOut(options *connectOptions) client.ConnectOptions {
	return client.ConnectOptions{
		Headers:          pairs(options.Headers),
		Subprotocols:     options.Subprotocols,
		ConnectTimeoutMs: optional(options.connectTimeout),
		MaxMessageSize:   optional(options.maxMessageSize),
		PingIntervalMs:   optional(options.pingInterval),
		PingTimeoutMs:    optional(options.pingTimeout),
		Compression:      compressionOut(options.Compression),
	}
}

type requestOut struct{ *handshake.Request }

func (r requestOut) uri() string                      { return r.Uri() }
func (r requestOut) path() string                     { return r.Path() }
func (r requestOut) query() (string, bool)            { return r.Query().Get() }
func (r requestOut) remoteAddress() string            { return r.RemoteAddress() }
func (r requestOut) originAllowed(origin string) bool { return r.OriginAllowed(origin) }
func (r requestOut) drop()                            { r.Drop() }

func (r requestOut) header(name string) (string, bool) { return r.Header(name).Get() }

func (r requestOut) pathArgs() []Header {
	var args []Header
	for _, arg := range r.PathArgs() {
		args = append(args, Header{arg.F0, arg.F1})
	}
	return args
}

func (r requestOut) headers() []Header {
	var headers []Header
	for _, header := range r.Headers() {
		headers = append(headers, Header{header.F0, string(header.F1)})
	}
	return headers
}

func (r requestOut) setResponseHeader(name, value string) error {
	return outcome(r.SetResponseHeader(name, value))
}

type connectionOut struct{ *connection.Connection }

func (c connectionOut) id() string                          { return c.Id() }
func (c connectionOut) selectedSubprotocol() (string, bool) { return c.SelectedSubprotocol().Get() }
func (c connectionOut) writeMessage(message Message) error {
	return outcome(c.WriteMessage(messageOut(message)))
}
func (c connectionOut) flush() error           { return outcome(c.Flush()) }
func (c connectionOut) bufferedAmount() uint32 { return c.BufferedAmount() }
func (c connectionOut) ping(data []byte) error { return outcome(c.Ping(data)) }
func (c connectionOut) close(code *uint16, reason *string) error {
	return outcome(c.Close(optional(code), optional(reason)))
}
func (c connectionOut) setNodelay(value bool) error  { return outcome(c.SetNodelay(value)) }
func (c connectionOut) subscribe(topic string) error { return outcome(c.Subscribe(topic)) }
func (c connectionOut) unsubscribe(topic string)     { c.Unsubscribe(topic) }
func (c connectionOut) setTimer(token, delay uint32) error {
	return outcome(c.SetTimer(token, delay))
}
func (c connectionOut) clearTimer(token uint32) { c.ClearTimer(token) }
func (c connectionOut) drop()                   { c.Drop() }

type clientOut struct{ *client.ClientConnection }

func (c clientOut) id() string                          { return c.Id() }
func (c clientOut) selectedSubprotocol() (string, bool) { return c.SelectedSubprotocol().Get() }
func (c clientOut) readMessage(timeout *uint32) (*Message, error) {
	result := c.ReadMessage(optional(timeout))
	if result.Tag() == wit.ResultErr {
		return nil, failure(result.Err())
	}
	if read, is := result.Ok().Get(); is {
		message := messageIn(read)
		return &message, nil
	}
	return nil, nil
}
func (c clientOut) writeMessage(message Message) error {
	return outcome(c.WriteMessage(messageOut(message)))
}
func (c clientOut) flush() error           { return outcome(c.Flush()) }
func (c clientOut) ping(data []byte) error { return outcome(c.Ping(data)) }
func (c clientOut) close(code *uint16, reason *string) error {
	return outcome(c.Close(optional(code), optional(reason)))
}
func (c clientOut) closeFrame() *CloseFrame { return frameIn(c.CloseFrame()) }
func (c clientOut) drop()                   { c.Drop() }

// ---- What the host calls ----

// One connection's handler, with what the host asks of it.
type session struct {
	handler Handler
	clients map[string]*ClientConnection
}

func begin(request *handshake.Request) *session {
	endOfResuming()
	defer collectIfDue(0)
	asked := &Request{requestOut{request}}
	s := &session{newSession(asked), map[string]*ClientConnection{}}
	clients = s.clients
	s.handler.Initialize(asked)
	return s
}

func resume(request *handshake.Request, own *connection.Connection, state []byte) (exports.Methods, error) {
	s := &session{clients: map[string]*ClientConnection{}}
	clients = s.clients
	asked := &Request{requestOut{request}}
	handler, err := resumeHandler(asked, connectionOut{own}, state)
	if err != nil {
		request.Drop()
		own.Drop()
		return nil, err
	}
	s.handler = handler
	return s, nil
}

// Every event begins here, and ends with what it returns.
func (s *session) event() func() {
	clients = s.clients
	return func() { collectIfDue(0) }
}

func (s *session) Prepare() wit.Result[wit.Unit, types.Rejection] {
	defer s.event()()
	err := s.handler.Prepare()
	if err == nil {
		return wit.Ok[wit.Unit, types.Rejection](wit.Unit{})
	}
	rejection := rejectionOf(s.handler, err)
	headers := rejection.Headers
	typed := false
	for _, header := range headers {
		typed = typed || strings.EqualFold(header.Name, "content-type")
	}
	if !typed {
		headers = append(headers[:len(headers):len(headers)], Header{"content-type", "text/plain; charset=utf-8"})
	}
	// What is no status is none that the host would take either.
	status := uint16(min(max(rejection.Status, 0), math.MaxUint16))
	return wit.Err[wit.Unit](types.Rejection{Status: status, Headers: pairs(headers), Body: rejection.Body})
}

func (s *session) CheckOrigin(origin string) bool {
	defer s.event()()
	return s.handler.CheckOrigin(origin)
}

func (s *session) SelectSubprotocol(offered []string) wit.Option[string] {
	defer s.event()()
	name := s.handler.SelectSubprotocol(offered)
	return option(name, name != "")
}

func (s *session) GetCompressionOptions() wit.Option[types.CompressionOptions] {
	defer s.event()()
	return compressionOut(s.handler.CompressionOptions())
}

func (s *session) Open(own *connection.Connection) {
	defer s.event()()
	s.handler.base().connection.handle = connectionOut{own}
	s.handler.Open()
}

func (s *session) OnMessage(message types.Message) {
	defer s.event()()
	s.handler.OnMessage(messageIn(message))
}

func (s *session) OnPing(data []byte) {
	defer s.event()()
	s.handler.OnPing(data)
}

func (s *session) OnPong(data []byte) {
	defer s.event()()
	s.handler.OnPong(data)
}

func (s *session) OnWritable() {
	defer s.event()()
	s.handler.OnWritable()
}

func (s *session) OnTimer(token uint32) {
	defer s.event()()
	s.handler.OnTimer(token)
}

func (s *session) OnClientEvent(id string, event client.ClientEvent) {
	defer s.event()()
	var told ClientEvent
	switch event.Tag() {
	case client.ClientEvent_Opened:
		told = ClientOpened{}
	case client.ClientEvent_Failed:
		told = ClientFailed{connectFailure(event.Failed())}
	case client.ClientEvent_Message:
		told = ClientMessage{messageIn(event.Message())}
	case client.ClientEvent_Pong:
		told = ClientPong{event.Pong()}
	default:
		told = ClientClosed{frameIn(event.Closed())}
	}
	s.handler.OnClientEvent(id, told)
	forgetEnded(id, told)
}

func (s *session) OnClose(frame wit.Option[types.CloseFrame]) {
	defer s.event()()
	s.handler.OnClose(frameIn(frame))
}

func (s *session) Suspend() wit.Option[[]uint8] {
	defer s.event()()
	return option(suspendHandler(s.handler))
}

// The host's handles are given back here, and not when the collector comes by.
func (s *session) OnDrop() {
	own := s.handler.base().connection
	if own.handle != nil {
		own.ID()
		own.handle.drop()
		own.handle = nil
	}
	if own.request.handle != nil {
		own.request.handle.drop()
		own.request.handle = nil
	}
	for _, client := range s.clients {
		if client.handle != nil {
			client.handle.drop()
			client.handle = nil
		}
	}
	clients = nil
}

func suspendCommon() wit.Option[[]uint8] {
	defer collectIfDue(0)
	return option(suspendShared())
}

func resumeCommon(state []uint8) error { return resumeShared(state) }
