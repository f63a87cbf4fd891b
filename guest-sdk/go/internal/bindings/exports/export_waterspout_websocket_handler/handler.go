// Package export_waterspout_websocket_handler is what the generated exports call: it passes everything on to package waterspout, which
// it cannot import.
package export_waterspout_websocket_handler

import (
	"example.org/waterspout/internal/bindings/imports/waterspout_websocket_client"
	"example.org/waterspout/internal/bindings/imports/waterspout_websocket_connection"
	"example.org/waterspout/internal/bindings/imports/waterspout_websocket_handshake"
	"example.org/waterspout/internal/bindings/imports/waterspout_websocket_types"
	witTypes "example.org/waterspout/internal/wit/types"
)

// Methods are what the host calls on one connection's handler.
type Methods interface {
	Prepare() witTypes.Result[witTypes.Unit, waterspout_websocket_types.Rejection]
	CheckOrigin(origin string) bool
	SelectSubprotocol(offered []string) witTypes.Option[string]
	GetCompressionOptions() witTypes.Option[waterspout_websocket_types.CompressionOptions]
	Open(connection *waterspout_websocket_connection.Connection)
	OnMessage(message waterspout_websocket_types.Message)
	OnPing(data []uint8)
	OnPong(data []uint8)
	OnWritable()
	OnTimer(token uint32)
	OnClientEvent(id string, event waterspout_websocket_client.ClientEvent)
	OnClose(frame witTypes.Option[waterspout_websocket_types.CloseFrame])
	Suspend() witTypes.Option[[]uint8]
	OnDrop()
}

// New and Resume are package waterspout's.
var (
	New    func(request *waterspout_websocket_handshake.Request) Methods
	Resume func(
		request *waterspout_websocket_handshake.Request, connection *waterspout_websocket_connection.Connection, state []uint8,
	) (Methods, error)
)

// Handler is what the host has a handle of.
type Handler struct {
	Methods
	handle int32
}

// The host's handles lead to them by numbers, which the collector does not see.
var alive = map[*Handler]struct{}{}

func newHandler(methods Methods) *Handler {
	handler := &Handler{Methods: methods}
	alive[handler] = struct{}{}
	return handler
}

// MakeHandler makes the handler of a connection that is asked for.
func MakeHandler(request *waterspout_websocket_handshake.Request) *Handler {
	return newHandler(New(request))
}

// HandlerResume makes one of what an older version left.
func HandlerResume(
	request *waterspout_websocket_handshake.Request, connection *waterspout_websocket_connection.Connection, state []uint8,
) witTypes.Result[*Handler, string] {
	methods, err := Resume(request, connection, state)
	if err != nil {
		return witTypes.Err[*Handler](err.Error())
	}
	return witTypes.Ok[*Handler, string](newHandler(methods))
}

// OnDrop is called when the host has dropped its handle.
func (h *Handler) OnDrop() {
	delete(alive, h)
	h.Methods.OnDrop()
}
