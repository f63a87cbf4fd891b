package waterspout

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"unicode/utf8"
)

// Suspender is for handlers, and for what they share, that say themselves what they leave to a new version.
//
// Without it a handler leaves its exported fields, as [encoding/json] has them: fields that are added or removed do no harm. A field that
// is not exported, of the handler or of anything that is in it, would be lost, and so would text that is not UTF-8: a handler with one
// cannot be replaced while connected, and the log names it. Export it, define this, or tag it `waterspout:"-"` if the next version may
// begin with its zero value.
//
// Initialize is not called in the new version: what the older one did not have is the zero value there, also a map. What is [Share]d is
// read into what the new version made of it: of a map, entries are added.
type Suspender interface {
	// An error says why this handler cannot be replaced: then it goes on, and the log has it.
	Suspend() ([]byte, error)
}

// Resumer is for handlers, and for what they share, that read themselves what an older version left. It is called in place of Initialize
// and Open. Meanwhile whatever acts or waits fails with [ErrDenied].
type Resumer interface {
	// An error leaves the connection with the old version.
	Resume(state []byte) error
}

// Share makes what value points to the common state of all connections of an instance, which goes along to a new version as a handler
// does, under the name of its type:
//
//	var room = waterspout.Share(&Room{})
//
// Call it where package variables are made, or in an init function.
func Share[T any](value *T) *T {
	of := reflect.TypeFor[T]()
	name := of.Name()
	if name == "" {
		name = of.String()
	}
	for _, other := range shared {
		if other.name == name {
			panic("waterspout: two shared values of a type called " + name)
		}
	}
	shared = append(shared, sharedValue{name, value})
	return value
}

type sharedValue struct {
	name  string
	value any
}

var shared []sharedValue

// While something is resumed.
type resumption struct {
	isShared bool
	// Of what is shared: found when their handlers are there.
	clients []*ClientConnection
	// Connections that were read, by id. The same pointer cannot be given to all: all are bound.
	connections map[string][]*Connection
}

var resuming *resumption

// What was read of connections whose handlers have not been resumed yet. It goes with the first event.
var awaited = resumption{connections: map[string][]*Connection{}}

func (r *resumption) await(id string, connection *Connection) {
	connection.id = id
	connection.own = resumed[id]
	r.connections[id] = append(r.connections[id], connection)
}

// Connections that are there, by id, while others are being resumed.
var resumed = map[string]*Connection{}

func suspend(name string, value any) ([]byte, bool) {
	state, err := stateOf(value)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s cannot be suspended: %v\n", name, err)
		return nil, false
	}
	return state, true
}

func stateOf(value any) ([]byte, error) {
	if own, is := value.(Suspender); is {
		return own.Suspend()
	}
	all := fields{map[seenType]bool{}}
	if err := all.check(reflect.TypeOf(value), "", false); err != nil {
		return nil, err
	}
	state, err := json.Marshal(value)
	if err != nil {
		return nil, culprit(reflect.ValueOf(value), err)
	}
	if err := all.checkValue(reflect.ValueOf(value), ""); err != nil {
		return nil, err
	}
	return state, nil
}

var (
	baseType  = reflect.TypeFor[Base]()
	jsonType  = reflect.TypeFor[json.Marshaler]()
	plainType = reflect.TypeFor[encoding.TextMarshaler]()
)

// Whether a type says itself what it is in JSON. If that is a method of the pointer, only one that is reached by a pointer does.
func saysItself(of reflect.Type, isReached bool) bool {
	is := func(of reflect.Type) bool { return of.Implements(jsonType) || of.Implements(plainType) }
	return is(of) || isReached && is(reflect.PointerTo(of))
}

// The fields of a struct that go along: exported ones, and what is embedded, unless a tag says otherwise.
func goesAlong(field reflect.StructField) bool {
	return field.Type != baseType && field.Tag.Get("waterspout") != "-" && field.Tag.Get("json") != "-"
}

// fields looks at what a state is made of.
type fields struct {
	seen map[seenType]bool
}

type seenType struct {
	reflect.Type
	isReached bool
}

// check refuses what JSON would leave out without a word. `path` leads to a value of that type.
func (f fields) check(of reflect.Type, path string, isReached bool) error {
	if f.seen[seenType{of, isReached}] || saysItself(of, isReached) {
		return nil
	}
	f.seen[seenType{of, isReached}] = true
	switch of.Kind() {
	case reflect.Pointer:
		return f.check(of.Elem(), path, true)
	case reflect.Slice:
		return f.check(of.Elem(), path+"[]", true)
	case reflect.Array:
		return f.check(of.Elem(), path+"[]", isReached)
	case reflect.Map:
		return f.check(of.Elem(), path+"[]", false)
	case reflect.Struct:
		for i := range of.NumField() {
			field := of.Field(i)
			if !goesAlong(field) {
				continue
			}
			path := member(path, field.Name)
			// Of an embedded struct the exported fields go along, whatever its name.
			isStruct := field.Anonymous && field.Type.Kind() == reflect.Struct
			if !field.IsExported() && !isStruct {
				return fmt.Errorf(
					"the field %s is not exported: export it, define Suspend and Resume, or tag it `waterspout:\"-\"`", path,
				)
			}
			if err := f.check(field.Type, path, isReached); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkValue refuses text that JSON would change, and looks at what the types do not tell: what is in interfaces. What it is given has
// no cycles.
func (f fields) checkValue(value reflect.Value, path string) error {
	if !value.IsValid() || saysItself(value.Type(), value.CanAddr()) {
		return nil
	}
	switch value.Kind() {
	case reflect.String:
		if !utf8.ValidString(value.String()) {
			return fmt.Errorf("the text %s is not UTF-8: keep bytes as []byte", path)
		}
	case reflect.Interface:
		if value.IsNil() {
			return nil
		}
		if err := f.check(value.Elem().Type(), path, false); err != nil {
			return err
		}
		return f.checkValue(value.Elem(), path)
	case reflect.Pointer:
		return f.checkValue(value.Elem(), path)
	case reflect.Slice, reflect.Array:
		if isNumber(value.Type().Elem().Kind()) {
			return nil
		}
		for i := range value.Len() {
			if err := f.checkValue(value.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entry := value.MapRange(); entry.Next(); {
			path := fmt.Sprintf("%s[%#v]", path, entry.Key())
			if err := f.checkValue(entry.Key(), path); err != nil {
				return err
			}
			if err := f.checkValue(entry.Value(), path); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range value.NumField() {
			field := value.Type().Field(i)
			if !goesAlong(field) {
				continue
			}
			if err := f.checkValue(value.Field(i), member(path, field.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func isNumber(kind reflect.Kind) bool { return kind >= reflect.Bool && kind <= reflect.Complex128 }

func member(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// The field that JSON cannot say.
func culprit(value reflect.Value, err error) error {
	for value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct {
		return err
	}
	for i := range value.NumField() {
		field := value.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		if _, why := json.Marshal(value.Field(i).Interface()); why != nil {
			return fmt.Errorf("the field %s: %w", field.Name, why)
		}
	}
	return err
}

// Reads a state that an older version left; none is an older version's that had nothing to leave.
func restore(name string, value any, state []byte) error {
	var err error
	if own, is := value.(Resumer); is {
		err = own.Resume(state)
	} else if len(state) > 0 {
		err = json.Unmarshal(state, value)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be resumed: %w", name, err)
	}
	return nil
}

// A handler's or a shared value's type, for people.
func nameOf(value any) string {
	of := reflect.TypeOf(value)
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	return of.Name()
}

func suspendHandler(handler Handler) ([]byte, bool) { return suspend(nameOf(handler), handler) }

func resumeHandler(request *Request, handle connectionHandle, state []byte) (Handler, error) {
	handler := newSession(request)
	connection := handler.base().connection
	connection.handle = handle
	id := connection.ID()
	resuming = &resumption{connections: awaited.connections}
	defer func() { resuming = nil }()
	for _, read := range awaited.connections[id] {
		read.own = connection
	}
	resumed[id] = connection
	for _, client := range awaited.clients {
		if client.handle == nil {
			client.find()
		}
	}
	if err := restore(nameOf(handler), handler, state); err != nil {
		connection.handle = nil
		return nil, err
	}
	return handler, nil
}

// All that will be resumed in this instance has been.
func endOfResuming() {
	clear(awaited.connections)
	awaited.clients = nil
	clear(resumed)
}

func suspendShared() ([]byte, bool) {
	states := map[string]json.RawMessage{}
	for _, each := range shared {
		state, can := suspend(each.name, each.value)
		if !can {
			return nil, false
		}
		if _, own := each.value.(Suspender); own {
			// Its bytes need not be JSON.
			state, _ = json.Marshal(state)
		}
		states[each.name] = state
	}
	if len(states) == 0 {
		return nil, true
	}
	all, err := json.Marshal(states)
	if err != nil {
		fmt.Fprintf(os.Stderr, "what is shared cannot be suspended: %v\n", err)
	}
	return all, err == nil
}

func resumeShared(all []byte) error {
	states := map[string]json.RawMessage{}
	if len(all) > 0 {
		if err := json.Unmarshal(all, &states); err != nil {
			return fmt.Errorf("what is shared cannot be resumed: %w", err)
		}
	}
	resuming = &awaited
	resuming.isShared = true
	defer func() { resuming = nil }()
	for _, each := range shared {
		state, is := states[each.name]
		if !is {
			continue
		}
		if _, own := each.value.(Resumer); own {
			var bytes []byte
			if json.Unmarshal(state, &bytes) == nil {
				state = bytes
			}
		}
		if err := restore(each.name, each.value, state); err != nil {
			return err
		}
	}
	return nil
}
