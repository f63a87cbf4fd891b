package main

import (
	"strconv"
	"strings"
	"time"

	"example.org/waterspout"
)

// Topics subscribes and publishes.
type Topics struct{ waterspout.Base }

func (t *Topics) OnMessage(message waterspout.Message) {
	word, rest := command(message.String())
	topic, text := command(rest)
	var err error
	switch word {
	case "subscribe":
		err = t.Subscribe(topic)
	case "unsubscribe":
		t.Unsubscribe(topic)
	case "publish":
		err = waterspout.Publish(topic, text)
	case "publish-binary":
		err = waterspout.Publish(topic, []byte(text))
	}
	_ = t.WriteMessage(kind(err))
}

// Timers sets timers.
type Timers struct{ waterspout.Base }

func (t *Timers) OnMessage(message waterspout.Message) {
	for _, text := range strings.Split(message.String(), "; ") {
		t.one(text)
	}
}

func (t *Timers) one(text string) {
	word, rest := command(text)
	number, delay := command(rest)
	token, _ := strconv.ParseUint(number, 10, 32)
	if word == "clear" {
		t.ClearTimer(uint32(token))
		return
	}
	ms, _ := strconv.Atoi(delay)
	if err := t.SetTimer(uint32(token), time.Duration(ms)*time.Millisecond); err != nil {
		_ = t.WriteMessage(kind(err))
	}
}

func (t *Timers) OnTimer(token uint32) {
	_ = t.WriteMessage("timer " + strconv.FormatUint(uint64(token), 10))
}
