package waterspout

// What the host does that is of no connection accepted here.
type hostFunctions interface {
	publish(topic string, message Message) error
	config(key string) (string, bool)
	connect(url string, options *connectOptions) (clientHandle, error)
	start(url string, options *connectOptions) (clientHandle, error)
	client(id string) clientHandle
}

// The host; in programs that are no component, as in tests, nobody.
var host hostFunctions = nobody{}

type nobody struct{}

func (nobody) publish(string, Message) error                         { return ErrDenied }
func (nobody) config(string) (string, bool)                          { return "", false }
func (nobody) connect(string, *connectOptions) (clientHandle, error) { return nil, ErrDenied }
func (nobody) start(string, *connectOptions) (clientHandle, error)   { return nil, ErrDenied }
func (nobody) client(string) clientHandle                            { return nil }
