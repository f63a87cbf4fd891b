// Echo is the first handler of Tornado's documentation.
package main

import (
	"fmt"

	"example.org/waterspout"
)

// Echo is a connection's handler.
type Echo struct{ waterspout.Base }

// Open notes in the log that somebody came.
func (e *Echo) Open() {
	fmt.Println("WebSocket opened")
}

// OnMessage says back what it is told, and sends binary back as it came.
func (e *Echo) OnMessage(message waterspout.Message) {
	if message.IsText() {
		message = waterspout.TextMessage("You said: " + message.String())
	}
	// It fails if the peer has just left, or does not read: nothing that an echo could mend.
	_ = e.WriteMessage(message)
}

// OnClose notes in the log that somebody left.
func (e *Echo) OnClose(*waterspout.CloseFrame) {
	fmt.Println("WebSocket closed")
}

func init() { waterspout.Export[Echo]() }

func main() {}
