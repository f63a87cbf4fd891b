package waterspout

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Why a call failed.
const (
	KindClosed     = "closed"
	KindBufferFull = "buffer-full"
	KindTimeout    = "timeout"
	KindLimit      = "limit"
	KindDenied     = "denied"
	KindInvalid    = "invalid"
	KindInvalidURL = "invalid-url"
	KindNetwork    = "network"
	KindHTTP       = "http"
	KindProtocol   = "protocol"
)

// Error is why a call to the host failed; nothing was done. `errors.Is(err, waterspout.ErrLimit)` asks for its kind.
type Error struct {
	// One of the kinds above.
	Kind string
	// What the host said of it: the limit that it would be over, or why it is invalid. "" if there is no more to say.
	Detail string
	// Of KindHTTP: what the server answered with.
	Status int
}

var (
	// ErrClosed says that the connection is closed or closing: stop writing, OnClose comes or came.
	ErrClosed = &Error{Kind: KindClosed}
	// ErrBufferFull says that the queue is full, because the peer reads slower than we write: OnWritable tells when to go on.
	ErrBufferFull = &Error{Kind: KindBufferFull}
	// ErrTimeout says that waiting took longer than it may; what was waited for may still happen.
	ErrTimeout = &Error{Kind: KindTimeout}
	// ErrLimit says that it is over a limit that the operator set; the detail names it.
	ErrLimit = &Error{Kind: KindLimit}
	// ErrDenied says that the operator's policy, or this moment (suspend, resume), does not allow it.
	ErrDenied = &Error{Kind: KindDenied}
	// ErrInvalid says that the argument is not what the protocol allows; the detail says why.
	ErrInvalid = &Error{Kind: KindInvalid}
	// ErrInvalidURL is of [Connect] and [Start], as those below: no URL of a WebSocket.
	ErrInvalidURL = &Error{Kind: KindInvalidURL}
	// ErrNetwork says that the server cannot be reached, or cannot be trusted; the detail says why.
	ErrNetwork = &Error{Kind: KindNetwork}
	// ErrHTTP says that the server answered with another status than 101. Redirects are not followed.
	ErrHTTP = &Error{Kind: KindHTTP}
	// ErrProtocol says that the server, or what it was to be asked, broke the protocol; the detail says why.
	ErrProtocol = &Error{Kind: KindProtocol}
)

var sentences = map[string]string{
	KindClosed:     "the connection is closed or closing",
	KindBufferFull: "the outbound queue is full, nothing was queued",
	KindTimeout:    "waiting took longer than it may",
	KindLimit:      "over a limit that the operator set",
	KindDenied:     "not allowed by the operator's policy, or not at this moment",
	KindInvalid:    "not what the protocol allows",
	KindInvalidURL: "no URL of a WebSocket",
	KindNetwork:    "no connection",
	KindHTTP:       "the server did not accept",
	KindProtocol:   "not what the protocol allows",
}

// Error is a sentence for people.
func (e *Error) Error() string {
	text := sentences[e.Kind]
	if e.Kind == KindHTTP {
		text += ": status " + strconv.Itoa(e.Status)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Is compares kinds, for [errors.Is].
func (e *Error) Is(target error) bool {
	other, is := target.(*Error)
	return is && other.Kind == e.Kind
}

// Rejection is an HTTP answer instead of the upgrade: an error for Prepare to return.
type Rejection struct {
	// 200 to 599.
	Status int
	// Of those that handlers may set. Without a content-type the body is plain text in UTF-8.
	Headers []Header
	Body    []byte
}

// Reject is an answer in plain text.
func Reject(status int, body string) *Rejection {
	return &Rejection{Status: status, Body: []byte(body)}
}

// Redirect is 302 to url.
func Redirect(url string) *Rejection {
	return &Rejection{Status: 302, Headers: []Header{{"location", url}}}
}

// With is the same with one header more.
func (r *Rejection) With(name, value string) *Rejection {
	r.Headers = append(r.Headers, Header{name, value})
	return r
}

// rejectionOf is the answer to an error of Prepare. One that is no Rejection is for the log, not for the peer; and it ends nobody
// else's connection, as a panic would.
func rejectionOf(handler Handler, err error) *Rejection {
	var rejection *Rejection
	if errors.As(err, &rejection) && rejection != nil {
		return rejection
	}
	fmt.Fprintf(os.Stderr, "%s.Prepare: %v\n", nameOf(handler), err)
	return Reject(500, "Internal Server Error")
}

// Error names the status.
func (r *Rejection) Error() string { return "rejected with status " + strconv.Itoa(r.Status) }
