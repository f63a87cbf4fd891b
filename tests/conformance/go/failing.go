package main

import "example.org/waterspout"

// Throw panics in the method that the query names.
type Throw struct{ Echo }

func (t *Throw) isMeant(method string) bool {
	meant, _ := t.Request().Argument("in")
	return meant == method
}

func (t *Throw) fail(method string) {
	if t.isMeant(method) {
		panic("conformance: " + method)
	}
}

func (t *Throw) Initialize(*waterspout.Request) { t.fail("construct") }

func (t *Throw) Prepare() error {
	t.fail("prepare")
	return nil
}

func (t *Throw) CheckOrigin(string) bool {
	t.fail("check_origin")
	return true
}

func (t *Throw) SelectSubprotocol([]string) string {
	t.fail("select_subprotocol")
	return ""
}

func (t *Throw) CompressionOptions() *waterspout.CompressionOptions {
	t.fail("get_compression_options")
	return nil
}

func (t *Throw) Open() { t.fail("open") }

func (t *Throw) OnMessage(message waterspout.Message) {
	t.fail("on_message")
	switch {
	case t.isMeant("on_pong"):
		_ = t.Ping([]byte("?"))
	case t.isMeant("on_timer"):
		_ = t.SetTimer(0, 1)
	case t.isMeant("on_client_event"):
		url, _ := t.Request().Argument("url")
		_, _ = waterspout.Start(url, nil)
	case t.isMeant("on_writable"):
		block := make([]byte, 65536)
		for t.WriteMessage(block) == nil {
		}
		_ = waterspout.Publish("conformance-full", "full")
	default:
		_ = t.WriteMessage(message)
	}
}

func (t *Throw) OnPing([]byte)  { t.fail("on_ping") }
func (t *Throw) OnPong([]byte)  { t.fail("on_pong") }
func (t *Throw) OnWritable()    { t.fail("on_writable") }
func (t *Throw) OnTimer(uint32) { t.fail("on_timer") }

func (t *Throw) OnClientEvent(string, waterspout.ClientEvent) { t.fail("on_client_event") }

func (t *Throw) OnClose(*waterspout.CloseFrame) { t.fail("on_close") }

// Suspend has nothing to leave.
func (t *Throw) Suspend() ([]byte, error) {
	t.fail("suspend")
	return nil, nil
}

// Resume needs nothing.
func (t *Throw) Resume([]byte) error {
	t.fail("resume")
	return nil
}
