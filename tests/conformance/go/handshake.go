package main

import (
	"slices"

	"example.org/waterspout"
)

// Request tells what was asked for.
type Request struct{ waterspout.Base }

func (r *Request) Open() {
	request := r.Request()
	args := map[string]string{}
	for _, arg := range request.PathArgs() {
		args[arg.Name] = arg.Value
	}
	report := map[string]any{
		"uri":            request.URI(),
		"path":           request.Path(),
		"query":          nil,
		"path_args":      args,
		"remote_address": request.RemoteAddress(),
		"x_test":         nil,
		"x_many":         append([]string{}, request.HeaderValues("X-Many")...),
		"arg":            nil,
	}
	if query, is := request.Query(); is {
		report["query"] = query
	}
	if value := request.Header("X-Test"); value != "" {
		report["x_test"] = value
	}
	if value, is := request.Argument("name"); is {
		report["arg"] = value
	}
	_ = r.WriteMessage(report)
}

// ResponseHeader sets a header, and one that it may not set.
type ResponseHeader struct {
	waterspout.Base
	Refused string
}

func (r *ResponseHeader) Prepare() error {
	if err := r.Request().SetResponseHeader("x-conformance", "yes"); err != nil {
		return err
	}
	r.Refused = kind(r.Request().SetResponseHeader("connection", "close"))
	return nil
}

func (r *ResponseHeader) Open() { _ = r.WriteMessage(r.Refused) }

// Reject rejects.
type Reject struct{ waterspout.Base }

func (r *Reject) Prepare() error {
	return waterspout.Reject(418, "short and stout").With("x-why", "teapot")
}

// Origin has an opinion of its own.
type Origin struct{ Echo }

func (o *Origin) CheckOrigin(origin string) bool { return origin == "https://good.example" }

// SubprotocolDefault tells what was selected.
type SubprotocolDefault struct{ waterspout.Base }

func (s *SubprotocolDefault) Open() {
	name := s.SelectedSubprotocol()
	if name == "" {
		name = "none"
	}
	_ = s.WriteMessage(name)
}

// Subprotocol selects.
type Subprotocol struct{ SubprotocolDefault }

func (s *Subprotocol) SelectSubprotocol(offered []string) string {
	if slices.Contains(offered, "second") {
		return "second"
	}
	return ""
}

// Compression compresses.
type Compression struct{ Echo }

func (c *Compression) CompressionOptions() *waterspout.CompressionOptions {
	return &waterspout.CompressionOptions{Level: waterspout.Level(6)}
}
