package main

import (
	"fmt"
	"math/rand"
	"os"
	"time"

	"example.org/waterspout"
)

// Echo writes back what it is sent.
type Echo struct{ waterspout.Base }

func (e *Echo) OnMessage(message waterspout.Message) { _ = e.WriteMessage(message) }

// JSON answers JSON with JSON.
type JSON struct{ waterspout.Base }

func (j *JSON) OnMessage(message waterspout.Message) {
	var got any
	if message.JSON(&got) != nil {
		_ = j.WriteMessage("not json")
		return
	}
	_ = j.WriteMessage(map[string]any{"got": got, "kind": "json"})
}

// Print prints.
type Print struct{ waterspout.Base }

func (p *Print) OnMessage(message waterspout.Message) {
	if word, rest := command(message.String()); word == "eprint" {
		fmt.Fprintln(os.Stderr, rest)
	} else {
		fmt.Println(message)
	}
}

// Clock tells the time, and a random number.
type Clock struct{ waterspout.Base }

func (c *Clock) OnMessage(waterspout.Message) {
	now := float64(time.Now().UnixMicro()) / 1e6
	_ = c.WriteMessage(map[string]float64{"now": now, "random": rand.Float64()})
}

// Config tells what the operator set.
type Config struct{ waterspout.Base }

func (c *Config) OnMessage(message waterspout.Message) {
	value, is := waterspout.Config(message.String())
	if !is {
		value = "none"
	}
	_ = c.WriteMessage(value)
}
