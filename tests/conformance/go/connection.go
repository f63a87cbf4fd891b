package main

import (
	"strconv"
	"strings"

	"example.org/waterspout"
)

// Open tells the connection's id.
type Open struct{ waterspout.Base }

func (o *Open) Open() { _ = o.WriteMessage("opened " + o.ID()) }

func (o *Open) OnMessage(message waterspout.Message) {
	if message.String() == "id" {
		_ = o.WriteMessage(o.ID())
	}
}

// Ping pings.
type Ping struct{ waterspout.Base }

func (p *Ping) OnMessage(message waterspout.Message) {
	if word, data := command(message.String()); word == "ping" {
		_ = p.Ping([]byte(data))
	} else {
		_ = p.WriteMessage(kind(p.Ping(make([]byte, 126))))
	}
}

func (p *Ping) OnPing(data []byte) { _ = p.WriteMessage("ping " + string(data)) }
func (p *Ping) OnPong(data []byte) { _ = p.WriteMessage("pong " + string(data)) }

const ends = "conformance-ends"

// closeAs closes as "CODE REASON" says, or "- " without either.
func closeAs(close func(int, string) error, text string) error {
	word, reason := command(text)
	code, err := strconv.Atoi(word)
	if err != nil {
		return close(waterspout.NoCode, "")
	}
	return close(code, reason)
}

// Close closes.
type Close struct{ waterspout.Base }

func (c *Close) OnMessage(message waterspout.Message) {
	_ = closeAs(c.Close, message.String())
	_ = waterspout.Publish(ends, kind(c.WriteMessage("late")))
}

func (c *Close) OnClose(frame *waterspout.CloseFrame) {
	_ = waterspout.Publish(ends, end("closed", frame))
}

// Observe is sent what is published.
type Observe struct{ waterspout.Base }

func (o *Observe) Open() {
	topic, _ := o.Request().Argument("topic")
	report := "ready"
	if err := o.Subscribe(topic); err != nil {
		report = kind(err)
	}
	_ = o.WriteMessage(report)
}

// Invalid closes as nobody may.
type Invalid struct{ waterspout.Base }

func (i *Invalid) OnMessage(message waterspout.Message) {
	word, rest := command(message.String())
	number, _ := strconv.Atoi(rest)
	var err error
	if word == "code" {
		err = i.Close(number, "")
	} else {
		err = i.Close(1000, strings.Repeat("r", number))
	}
	if err != nil {
		_ = i.WriteMessage(kind(err))
	}
}

// Queue writes faster than the peer reads.
type Queue struct{ waterspout.Base }

func (q *Queue) OnMessage(message waterspout.Message) {
	switch word, rest := command(message.String()); word {
	case "fill":
		size, _ := strconv.Atoi(rest)
		data := make([]byte, size)
		for q.WriteMessage(data) == nil {
		}
		_ = waterspout.Publish("conformance-full", "full")
	case "amount":
		_ = q.WriteMessage(strconv.Itoa(q.BufferedAmount()))
	case "flush":
		report := "flushed"
		if err := q.Flush(); err != nil {
			report = kind(err)
		}
		_ = q.WriteMessage(report)
	}
}

func (q *Queue) OnWritable() { _ = q.WriteMessage("writable") }

// Nodelay sets it.
type Nodelay struct{ waterspout.Base }

func (n *Nodelay) OnMessage(message waterspout.Message) {
	_ = n.WriteMessage(kind(n.SetNodelay(message.String() == "on")))
}
