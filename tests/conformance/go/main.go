// Conformance is what the conformance suite talks to: one handler for each feature, chosen by the path's last segment.
package main

import (
	"errors"
	"strings"

	"example.org/waterspout"
)

var features = map[string]func() waterspout.Handler{
	"echo":                func() waterspout.Handler { return &Echo{} },
	"json":                func() waterspout.Handler { return &JSON{} },
	"print":               func() waterspout.Handler { return &Print{} },
	"clock":               func() waterspout.Handler { return &Clock{} },
	"config":              func() waterspout.Handler { return &Config{} },
	"request":             func() waterspout.Handler { return &Request{} },
	"response-header":     func() waterspout.Handler { return &ResponseHeader{} },
	"reject":              func() waterspout.Handler { return &Reject{} },
	"origin":              func() waterspout.Handler { return &Origin{} },
	"origin-default":      func() waterspout.Handler { return &Echo{} },
	"subprotocol":         func() waterspout.Handler { return &Subprotocol{} },
	"subprotocol-default": func() waterspout.Handler { return &SubprotocolDefault{} },
	"compression":         func() waterspout.Handler { return &Compression{} },
	"compression-default": func() waterspout.Handler { return &Echo{} },
	"open":                func() waterspout.Handler { return &Open{} },
	"ping":                func() waterspout.Handler { return &Ping{} },
	"close":               func() waterspout.Handler { return &Close{} },
	"observe":             func() waterspout.Handler { return &Observe{} },
	"invalid":             func() waterspout.Handler { return &Invalid{} },
	"queue":               func() waterspout.Handler { return &Queue{} },
	"nodelay":             func() waterspout.Handler { return &Nodelay{} },
	"topics":              func() waterspout.Handler { return &Topics{} },
	"timers":              func() waterspout.Handler { return &Timers{} },
	"connect":             func() waterspout.Handler { return &Connect{} },
	"start":               func() waterspout.Handler { return &Start{} },
	"counter":             func() waterspout.Handler { return &Counter{} },
	"keep":                func() waterspout.Handler { return &Keep{} },
	"refuse":              func() waterspout.Handler { return &Refuse{} },
	"room":                func() waterspout.Handler { return &Visitor{} },
	"throw":               func() waterspout.Handler { return &Throw{} },
}

func init() {
	waterspout.ExportFunc(func(request *waterspout.Request) waterspout.Handler {
		feature := features[request.PathArg("feature")]
		if feature == nil {
			panic("no such feature: " + request.URI())
		}
		return feature()
	})
}

func main() {}

// kind is the error's, or "ok".
func kind(err error) string {
	if err == nil {
		return "ok"
	}
	var why *waterspout.Error
	if errors.As(err, &why) {
		return why.Kind
	}
	return err.Error()
}

// command is a message's first word, and what follows it.
func command(text string) (string, string) {
	word, rest, _ := strings.Cut(text, " ")
	return word, rest
}
