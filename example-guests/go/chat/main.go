// Chat: a room is an instance. With `--path '/chat/{room}' --instance '{room}'` the host makes one instance for each value of {room}, and
// all of a room's connections share its memory: the room knows who is here and what was said, and writes to everybody.
package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"example.org/waterspout"
)

const (
	// Long enough for a name, short enough for the list of people.
	maxNameChars = 32
	// Bounds, with maxHistory, what a room keeps and a newcomer is sent.
	maxTextChars = 500
	// How many lines a newcomer sees.
	maxHistory = 50
)

// Request is what the page asks for: {"type":"join","name":"Ada"}, {"type":"say","text":"Hello"}.
type Request struct {
	Type string  `json:"type"`
	Name *string `json:"name"`
	Text *string `json:"text"`
}

// Line is what somebody said. It goes into the history, and to everybody as {"type":"said",...}.
type Line struct {
	Name string `json:"name"`
	Text string `json:"text"`
	// Seconds since 1970.
	At int64 `json:"at"`
}

// What the page is told: to whoever has joined, to everybody, and to whoever asked for what cannot be.
type (
	welcome struct {
		Type    string `json:"type"`
		Name    string `json:"name"`
		History []Line `json:"history"`
	}
	// "joined" or "left"; the people are those who are here now.
	moved struct {
		Type   string   `json:"type"`
		Name   string   `json:"name"`
		People []string `json:"people"`
	}
	said struct {
		Type string `json:"type"`
		Line
	}
	mistake struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
)

// Person is somebody who has joined.
type Person struct {
	Name       string
	Connection *waterspout.Connection
}

// Room is what all connections of a room share. Because its fields are exported, it moves along when the handler is replaced by a new
// version: nobody leaves, and nothing that was said is forgotten.
type Room struct {
	History []Line
	// By the connection's id.
	People map[string]Person
}

var room = waterspout.Share(&Room{History: []Line{}, People: map[string]Person{}})

func (r *Room) join(conn *waterspout.Connection, name string) error {
	name, err := bounded(name, maxNameChars, "A name has 1 to 32 characters.")
	if err != nil {
		return err
	}
	if _, is := r.People[conn.ID()]; is {
		return errors.New("You are here already.")
	}
	for _, person := range r.People {
		if strings.EqualFold(person.Name, name) {
			return errors.New("Somebody here has that name.")
		}
	}
	r.People[conn.ID()] = Person{name, conn}
	write(conn, welcome{"welcome", name, r.History})
	r.tellEverybody(moved{"joined", name, r.names()})
	return nil
}

func (r *Room) say(conn *waterspout.Connection, text string) error {
	text, err := bounded(text, maxTextChars, "A text has 1 to 500 characters.")
	if err != nil {
		return err
	}
	person, is := r.People[conn.ID()]
	if !is {
		return errors.New("Join first.")
	}
	line := Line{person.Name, text, time.Now().Unix()}
	r.tellEverybody(said{"said", line})
	if len(r.History) == maxHistory {
		r.History = r.History[1:]
	}
	r.History = append(r.History, line)
	return nil
}

func (r *Room) leave(conn *waterspout.Connection) {
	if person, is := r.People[conn.ID()]; is {
		delete(r.People, conn.ID())
		r.tellEverybody(moved{"left", person.Name, r.names()})
	}
}

func (r *Room) names() []string {
	names := make([]string, 0, len(r.People))
	for _, person := range r.People {
		names = append(names, person.Name)
	}
	slices.Sort(names)
	return names
}

func (r *Room) tellEverybody(event any) {
	for _, person := range r.People {
		write(person.Connection, event)
	}
}

// Chat is one connection's handler: the room does the work.
type Chat struct{ waterspout.Base }

// CompressionOptions takes the host's defaults: what is said repeats itself.
func (c *Chat) CompressionOptions() *waterspout.CompressionOptions {
	return &waterspout.CompressionOptions{}
}

// OnMessage joins or says.
func (c *Chat) OnMessage(message waterspout.Message) {
	var request Request
	err := message.JSON(&request)
	switch {
	case err == nil && request.Type == "join" && request.Name != nil:
		err = room.join(c.Connection(), *request.Name)
	case err == nil && request.Type == "say" && request.Text != nil:
		err = room.say(c.Connection(), *request.Text)
	default:
		err = errors.New("That was neither a join nor a say.")
	}
	if err != nil {
		write(c.Connection(), mistake{"error", err.Error()})
	}
}

// OnClose leaves.
func (c *Chat) OnClose(*waterspout.CloseFrame) { room.leave(c.Connection()) }

// write writes to any of the room's connections. One that cannot take it must not hold up the others: nobody waits here.
func write(conn *waterspout.Connection, event any) {
	err := conn.WriteMessage(event)
	switch {
	case err == nil || errors.Is(err, waterspout.ErrClosed):
		// Closed: its own OnClose is on its way, and takes it off the list.
	case errors.Is(err, waterspout.ErrBufferFull):
		// It reads more slowly than the room talks. Rather than miss a line unnoticed it comes back, and finds the history.
		_ = conn.Close(1008, "You read too slowly.")
	default:
		fmt.Printf("not sent to %s: %v\n", conn.ID(), err)
	}
}

// bounded is the text without surrounding space, if there is any, but not too much.
func bounded(text string, maxChars int, wrong string) (string, error) {
	text = strings.TrimSpace(text)
	if chars := utf8.RuneCountInString(text); chars < 1 || chars > maxChars {
		return "", errors.New(wrong)
	}
	return text, nil
}

func init() { waterspout.Export[Chat]() }

func main() {}
