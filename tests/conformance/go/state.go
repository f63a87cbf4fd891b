package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

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

// Kept is a field of every kind, with what the suite sends.
type Kept struct {
	Text   string
	Bytes  []byte
	Number float64
	List   []any
	Map    map[string]map[string]int
	Set    map[string]struct{}
	Own    *waterspout.Connection
}

// Keep keeps.
type Keep struct {
	waterspout.Base
	Kept
}

func (k *Keep) OnMessage(message waterspout.Message) {
	word, values := command(message.String())
	if word != "set" {
		numbers := []int{}
		for _, each := range k.Bytes {
			numbers = append(numbers, int(each))
		}
		set := slices.AppendSeq([]string{}, maps.Keys(k.Set))
		slices.Sort(set)
		_ = k.Own.WriteMessage(map[string]any{
			"text": k.Text, "bytes": numbers, "number": k.Number, "list": k.List, "map": k.Map, "set": set,
		})
		return
	}
	var asked struct {
		Text   string
		Bytes  []int
		Number float64
		List   []any
		Map    map[string]map[string]int
		Set    []string
	}
	if err := json.Unmarshal([]byte(values), &asked); err != nil {
		panic(err)
	}
	k.Kept = Kept{Text: asked.Text, Number: asked.Number, List: asked.List, Map: asked.Map, Set: map[string]struct{}{}, Own: k.Connection()}
	for _, each := range asked.Bytes {
		k.Bytes = append(k.Bytes, byte(each))
	}
	for _, each := range asked.Set {
		k.Set[each] = struct{}{}
	}
}

// Refuse goes nowhere.
type Refuse struct{ Echo }

// Resume refuses.
func (r *Refuse) Resume([]byte) error { return errors.New("not this state") }

// Room is what its visitors share.
type Room struct {
	Messages int
	People   map[string]*waterspout.Connection
	Refuses  Reluctant
}

// Reluctant is not written if it is "suspend", and not read if it is "resume".
type Reluctant string

// MarshalJSON writes it.
func (r Reluctant) MarshalJSON() ([]byte, error) {
	if r == "suspend" {
		return nil, errors.New("this room stays")
	}
	return json.Marshal(string(r))
}

// UnmarshalJSON reads it.
func (r *Reluctant) UnmarshalJSON(text []byte) error {
	if string(text) == `"resume"` {
		return errors.New("not this room")
	}
	return json.Unmarshal(text, (*string)(r))
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
	if word, method := command(message.String()); word == "refuse" {
		room.Refuses = Reluctant(method)
		return
	}
	room.Messages++
	for _, person := range room.People {
		_ = person.WriteMessage(fmt.Sprintf("%d %s", room.Messages, message))
	}
}

func (v *Visitor) OnClose(*waterspout.CloseFrame) { delete(room.People, v.ID()) }
