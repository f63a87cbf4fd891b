package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.org/waterspout"
)

// asked is what to connect to.
type asked struct {
	URL          string            `json:"url"`
	Headers      map[string]string `json:"headers"`
	Subprotocols []string          `json:"subprotocols"`
	TimeoutMs    int               `json:"timeout_ms"`

	MaxMessageSize uint32 `json:"max_message_size"`
	PingIntervalMs int    `json:"ping_interval_ms"`
	PingTimeoutMs  *int   `json:"ping_timeout_ms"`
	Compression    *struct {
		Level    *uint8 `json:"level"`
		MemLevel *uint8 `json:"mem_level"`
	} `json:"compression"`
}

func milliseconds(number int) time.Duration { return time.Duration(number) * time.Millisecond }

type opener func(string, *waterspout.ConnectOptions) (*waterspout.ClientConnection, error)

// openAs connects to what the message says; a failure goes to write.
func openAs(open opener, message waterspout.Message, write func(any) error) *waterspout.ClientConnection {
	var asked asked
	if err := message.JSON(&asked); err != nil {
		panic(err)
	}
	options := &waterspout.ConnectOptions{
		Subprotocols:   asked.Subprotocols,
		ConnectTimeout: milliseconds(asked.TimeoutMs),
		MaxMessageSize: asked.MaxMessageSize,
		PingInterval:   milliseconds(asked.PingIntervalMs),
	}
	if timeout := asked.PingTimeoutMs; timeout != nil {
		options.PingTimeout = milliseconds(*timeout)
		if *timeout == 0 {
			options.PingTimeout = waterspout.Forever
		}
	}
	if compression := asked.Compression; compression != nil {
		options.Compression = &waterspout.CompressionOptions{Level: compression.Level, MemLevel: compression.MemLevel}
	}
	for name, value := range asked.Headers {
		options.Headers = append(options.Headers, waterspout.Header{Name: name, Value: value})
	}
	client, err := open(asked.URL, options)
	if err != nil {
		_ = write(failed(err))
	}
	return client
}

func failed(err error) string {
	var why *waterspout.Error
	switch {
	case !errors.As(err, &why):
		return "failed " + err.Error()
	case why.Kind == waterspout.KindHTTP:
		return "failed http " + strconv.Itoa(why.Status)
	case why.Detail != "":
		return "failed " + why.Kind + " " + why.Detail
	default:
		return "failed " + why.Kind
	}
}

// toServer does a command for the server's side.
func toServer(client *waterspout.ClientConnection, text string) error {
	switch word, rest := command(text); word {
	case "send":
		return client.WriteMessage(rest)
	case "send-binary":
		return client.WriteMessage([]byte(rest))
	case "ping":
		return client.Ping([]byte(rest))
	case "close":
		return closeAs(client.Close, rest)
	case "flush":
		return client.Flush()
	default:
		return errors.New("no such command: " + text)
	}
}

func told(message waterspout.Message) string {
	if message.IsText() {
		return "text " + message.String()
	}
	return "binary " + message.String()
}

// end is "WORD CODE REASON", "WORD CODE" without a reason, or "WORD none" without a frame.
func end(word string, frame *waterspout.CloseFrame) string {
	if frame == nil {
		return word + " none"
	}
	return strings.TrimSuffix(fmt.Sprintf("%s %d %s", word, frame.Code, frame.Reason), " ")
}

// Connect waits for its server.
type Connect struct {
	waterspout.Base
	Client *waterspout.ClientConnection
}

func (c *Connect) OnMessage(message waterspout.Message) {
	text := message.String()
	word, rest := command(text)
	switch {
	case text[0] == '{':
		c.Client = openAs(waterspout.Connect, message, c.WriteMessage)
		if c.Client == nil {
			return
		}
		name := c.Client.SelectedSubprotocol()
		if name == "" {
			name = "none"
		}
		_ = c.WriteMessage("connected " + name)
	case c.Client == nil:
		_ = c.WriteMessage("not connected")
	case word == "read":
		c.read(waterspout.Forever)
	case word == "read-within":
		ms, _ := strconv.Atoi(rest)
		c.read(time.Duration(ms) * time.Millisecond)
	case word == "id":
		report := "another"
		if waterspout.Client(c.Client.ID()) == c.Client {
			report = "same"
		}
		_ = c.WriteMessage(report)
	default:
		if err := toServer(c.Client, text); err != nil {
			_ = c.WriteMessage(kind(err))
		}
	}
}

func (c *Connect) read(timeout time.Duration) {
	message, err := c.Client.ReadMessage(timeout)
	switch {
	case err != nil:
		_ = c.WriteMessage(kind(err))
	case message == nil:
		_ = c.WriteMessage(end("end", c.Client.CloseFrame()))
	default:
		_ = c.WriteMessage(told(*message))
	}
}

// Start is told of its server.
type Start struct {
	waterspout.Base
	Client *waterspout.ClientConnection
}

func (s *Start) OnMessage(message waterspout.Message) {
	text := message.String()
	switch {
	case text[0] == '{':
		s.Client = openAs(waterspout.Start, message, s.WriteMessage)
	case s.Client == nil:
		_ = s.WriteMessage("not connected")
	default:
		if err := toServer(s.Client, text); err != nil {
			_ = s.WriteMessage(kind(err))
		}
	}
}

func (s *Start) OnClientEvent(id string, event waterspout.ClientEvent) {
	if waterspout.Client(id) == nil {
		panic("an event of a stranger: " + id)
	}
	switch event := event.(type) {
	case waterspout.ClientOpened:
		_ = s.WriteMessage("opened")
	case waterspout.ClientFailed:
		_ = s.WriteMessage(failed(event.Err))
	case waterspout.ClientMessage:
		_ = s.WriteMessage(told(event.Message))
	case waterspout.ClientPong:
		_ = s.WriteMessage("pong " + string(event.Data))
	case waterspout.ClientClosed:
		_ = s.WriteMessage(end("closed", event.Frame))
	}
}
