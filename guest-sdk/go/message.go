package waterspout

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
	"unsafe"
)

// Kind is the kind of a message.
type Kind uint8

const (
	// Text is valid UTF-8, in both directions.
	Text Kind = iota
	// Binary is any bytes.
	Binary
)

// Message is one message (RFC 6455 section 5.6).
type Message struct {
	Kind Kind
	// The bytes; a text's are its UTF-8.
	Data []byte
}

// TextMessage is a message of text.
func TextMessage(text string) Message { return Message{Text, []byte(text)} }

// BinaryMessage is a message of bytes.
func BinaryMessage(data []byte) Message { return Message{Binary, data} }

// IsText tells whether it is text.
func (m Message) IsText() bool { return m.Kind == Text }

// String is the text; of a binary message, its bytes as if they were one.
func (m Message) String() string { return string(m.Data) }

// deepest is how deeply the JSON of a message may be nested; several times as much is still safe.
const deepest = 1000

// JSON reads the message, text or binary, as [json.Unmarshal] does. What is nested more deeply than 1,000 levels is an error: encoding/json would
// take ten times as much, which is more than a component's stack holds.
func (m Message) JSON(into any) error {
	if isTooDeep(m.Data) {
		return &Error{Kind: KindInvalid, Detail: fmt.Sprintf("JSON is nested more deeply than %d levels", deepest)}
	}
	return json.Unmarshal(m.Data, into)
}

func isTooDeep(data []byte) bool {
	depth, inString, escaped := 0, false, false
	for _, char := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped, inString = char == '\\', char != '"'
		case char == '"':
			inString = true
		case char == '[' || char == '{':
			if depth++; depth > deepest {
				return true
			}
		case char == ']' || char == '}':
			depth--
		}
	}
	return false
}

// messageOf is what WriteMessage sends for a value. It does not copy strings: nobody writes to the message.
func messageOf(value any) (Message, error) {
	message := Message{Kind: Text}
	switch value := value.(type) {
	case string:
		message.Data = unsafe.Slice(unsafe.StringData(value), len(value))
	case []byte:
		return Message{Binary, value}, nil
	case Message:
		message = value
	default:
		data, err := json.Marshal(value)
		if err != nil {
			return Message{}, &Error{Kind: KindInvalid, Detail: err.Error()}
		}
		// JSON is UTF-8 already.
		return Message{Text, data}, nil
	}
	if message.Kind == Text && !utf8.Valid(message.Data) {
		return Message{}, &Error{Kind: KindInvalid, Detail: "the text is not UTF-8"}
	}
	return message, nil
}

// CloseFrame is why a connection ended (RFC 6455 sections 7.1.5 and 7.1.6).
type CloseFrame struct {
	// 1005 stands for a frame without a code.
	Code uint16
	// At most 123 bytes.
	Reason string
}
