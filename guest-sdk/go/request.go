package waterspout

import (
	"strings"
	"unicode/utf8"
)

// Request is the request that asked for a connection. Once that has ended, it answers as if it had been empty. Each call asks the host
// and copies the answer: keep what is needed often.
type Request struct {
	handle requestHandle
}

// What the host tells of a request.
type requestHandle interface {
	uri() string
	path() string
	query() (string, bool)
	pathArgs() []Header
	header(name string) (string, bool)
	headers() []Header
	remoteAddress() string
	originAllowed(origin string) bool
	setResponseHeader(name, value string) error
	drop()
}

// Header is a name with a value: of HTTP's headers, or of what a path captured.
type Header struct {
	Name, Value string
}

// URI is path and query as they stood on the request line.
func (r *Request) URI() string {
	if r.handle == nil {
		return ""
	}
	return r.handle.uri()
}

// Path is the path as it stood on the request line.
func (r *Request) Path() string {
	if r.handle == nil {
		return ""
	}
	return r.handle.path()
}

// Query is what followed the question mark, and whether there was one.
func (r *Request) Query() (string, bool) {
	if r.handle == nil {
		return "", false
	}
	return r.handle.query()
}

// Argument is an argument of the query, as Tornado's get_argument: decoded, without control characters and surrounding space, the last
// one of several; and whether there is one.
func (r *Request) Argument(name string) (string, bool) {
	values := r.Arguments(name)
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

// Arguments are all values of an argument in the query, in order.
func (r *Request) Arguments(name string) []string {
	query, _ := r.Query()
	return queryValues(query, name)
}

// PathArgs is what the route's pattern captured, in order, percent-decoded; captures without a name are "0", "1", ...
func (r *Request) PathArgs() []Header {
	if r.handle == nil {
		return nil
	}
	return r.handle.pathArgs()
}

// PathArg is the capture of that name, or "": of /chat/blue under /chat/{room}, "room" is "blue".
func (r *Request) PathArg(name string) string {
	for _, arg := range r.PathArgs() {
		if arg.Name == name {
			return arg.Value
		}
	}
	return ""
}

// Header is the first value of a header, by its name in any case, or "".
func (r *Request) Header(name string) string {
	if r.handle == nil || !utf8.ValidString(name) {
		return ""
	}
	value, _ := r.handle.header(name)
	return value
}

// HeaderValues are all values of a header, in order.
func (r *Request) HeaderValues(name string) []string {
	var values []string
	for _, header := range r.Headers() {
		if strings.EqualFold(header.Name, name) {
			values = append(values, header.Value)
		}
	}
	return values
}

// Headers are all headers, in order; a value need not be UTF-8.
func (r *Request) Headers() []Header {
	if r.handle == nil {
		return nil
	}
	return r.handle.headers()
}

// RemoteAddress is the peer's address without port; behind a trusted proxy, the address that the proxy names.
func (r *Request) RemoteAddress() string {
	if r.handle == nil {
		return ""
	}
	return r.handle.remoteAddress()
}

// OriginAllowed tells whether the default policy (the same host and port) or the operator's list allows this origin.
func (r *Request) OriginAllowed(origin string) bool {
	return r.handle != nil && utf8.ValidString(origin) && r.handle.originAllowed(origin)
}

// SetResponseHeader adds a header to the 101. [ErrClosed], the handshake is over; [ErrInvalid], not one that handlers may set;
// [ErrLimit].
func (r *Request) SetResponseHeader(name, value string) error {
	if r.handle == nil {
		return ErrClosed
	}
	if err := checkText("the header", name+value); err != nil {
		return err
	}
	return r.handle.setResponseHeader(name, value)
}

// queryValues decodes as Tornado's get_query_arguments does.
func queryValues(query, name string) []string {
	var values []string
	for _, pair := range strings.Split(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if decode(key) == name {
			values = append(values, clean(decode(value)))
		}
	}
	return values
}

// `+` is a space, `%XX` a byte; a `%` that no two digits follow stays; bytes that are no UTF-8 become U+FFFD.
func decode(encoded string) string {
	decoded := make([]byte, 0, len(encoded))
	for i := 0; i < len(encoded); i++ {
		c := encoded[i]
		if c == '+' {
			c = ' '
		} else if c == '%' && i+2 < len(encoded) {
			high, low := digit(encoded[i+1]), digit(encoded[i+2])
			if high >= 0 && low >= 0 {
				c = byte(high<<4 | low)
				i += 2
			}
		}
		decoded = append(decoded, c)
	}
	return strings.ToValidUTF8(string(decoded), "\uFFFD")
}

// The value of a hexadecimal digit, or -1.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// Control characters become spaces, and the ends are trimmed.
func clean(value string) string {
	return strings.TrimSpace(strings.Map(func(c rune) rune {
		if c <= 0x08 || (c >= 0x0e && c <= 0x1f) {
			return ' '
		}
		return c
	}, value))
}
