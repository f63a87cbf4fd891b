// Package waterspout makes WebSocket handlers for Waterspout: Tornado's WebSocketHandler in Go.
//
//	package main
//
//	import "example.org/waterspout"
//
//	type Echo struct{ waterspout.Base }
//
//	func (e *Echo) OnMessage(message waterspout.Message) {
//		e.WriteMessage("You said: " + message.String())
//	}
//
//	func init() { waterspout.Export[Echo]() }
//
//	func main() {}
//
// It is built by
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o echo.wasm .
//
// Each connection has a handler of its own, made by the host's calls: [Handler] says which. There is one event at a time; a goroutine
// goes on only while an event is handled, so wait for those that are started. fmt.Println goes to the host's log, and so does a panic
// with its lines; it ends the instance and its connections with 1011. The package runs the garbage collector itself, between events
// and in its own functions, because it must not start while the host hands something over: leave GOGC and debug.SetGCPercent alone.
package waterspout

import "fmt"

// Export makes *T the handler of this program: call it in an init function, once. T is a struct that embeds [Base]; a new one is made
// for each connection.
func Export[T any, P interface {
	*T
	Handler
}]() {
	ExportFunc(func(*Request) Handler { return P(new(T)) })
}

// ExportFunc is [Export] for programs that choose the handler by the request, as by its path. The function is called for connections
// that are resumed, too.
func ExportFunc(newHandler func(request *Request) Handler) {
	if exported != nil {
		panic("waterspout: Export is called a second time")
	}
	exported = newHandler
}

// What Export was given.
var exported func(*Request) Handler

// newSession makes the handler of a connection.
func newSession(request *Request) Handler {
	if exported == nil {
		panic("waterspout: no handler: call waterspout.Export in an init function")
	}
	handler := exported(request)
	if handler == nil {
		panic(fmt.Sprintf("waterspout: no handler for %s", request.URI()))
	}
	handler.base().connection = &Connection{request: request}
	return handler
}

// Publish sends a message to every connection that subscribed to topic, in all instances; message is as of [Connection.WriteMessage].
// It is in the queue of every local subscriber when this returns. [ErrLimit], [ErrDenied], [ErrInvalid].
func Publish(topic string, message any) error {
	made, err := messageOf(message)
	if err == nil {
		err = checkText("the topic", topic)
	}
	if err != nil {
		return err
	}
	defer collectIfDue(len(made.Data))
	return host.publish(topic, made)
}

// Config is the value of a key in the route's `config`, and whether it has one.
func Config(key string) (string, bool) {
	if checkText("the key", key) != nil {
		return "", false
	}
	return host.config(key)
}
