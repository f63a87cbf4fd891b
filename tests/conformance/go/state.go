package main

import (
	"errors"
	"fmt"

	"example.org/waterspout"
)

// Counter counts.
type Counter struct {
	waterspout.Base
	Messages int
}

func (c *Counter) OnMessage(waterspout.Message) {
	c.Messages++
	_ = c.WriteMessage(fmt.Sprint(c.Messages))
}

// Kept is a field of every kind.
type Kept struct {
	Text   string
	Bytes  []byte
	Number float64
	List   []any
	Map    map[string]map[int]bool
	Own    *waterspout.Connection
}

// Keep keeps.
type Keep struct {
	waterspout.Base
	Kept
}

func (k *Keep) OnMessage(message waterspout.Message) {
	if message.String() == "set" {
		k.Kept = Kept{
			Text:   "grüß \"dich\"",
			Bytes:  []byte{0, 255},
			Number: 2.5,
			List:   []any{1.0, "two", nil},
			Map:    map[string]map[int]bool{"a": {7: true}},
			Own:    k.Connection(),
		}
		return
	}
	_ = k.Own.WriteMessage(k.Kept)
}

// Refuse goes nowhere.
type Refuse struct{ Echo }

// Resume refuses.
func (r *Refuse) Resume([]byte) error { return errors.New("not this state") }

// Room is what its visitors share.
type Room struct {
	Messages int
	People   map[string]*waterspout.Connection
}

var room = waterspout.Share(&Room{People: map[string]*waterspout.Connection{}})

// Visitor is a connection in a room.
type Visitor struct{ waterspout.Base }

// Prepare fails, as looking something up may, for visitors who ask for that.
func (v *Visitor) Prepare() error {
	if reason, is := v.Request().Argument("fails"); is {
		return errors.New("conformance: " + reason)
	}
	return nil
}

func (v *Visitor) Open() { room.People[v.ID()] = v.Connection() }

func (v *Visitor) OnMessage(message waterspout.Message) {
	room.Messages++
	for _, person := range room.People {
		_ = person.WriteMessage(fmt.Sprintf("%d %s", room.Messages, message))
	}
}

func (v *Visitor) OnClose(*waterspout.CloseFrame) { delete(room.People, v.ID()) }
