// Package types has the values that generated bindings are made of: WIT's option, result and tuple.
package types

// Whether an Option has a value.
const (
	OptionNone = 0
	OptionSome = 1
)

// Option is a value or none.
type Option[T any] struct {
	tag   uint8
	value T
}

// None is no value.
func None[T any]() Option[T] { return Option[T]{} }

// Some is a value.
func Some[T any](value T) Option[T] { return Option[T]{OptionSome, value} }

// Tag is OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 { return o.tag }

// Some is the value; of none, T's zero value.
func (o Option[T]) Some() T { return o.value }

// Get is the value, and whether there is one.
func (o Option[T]) Get() (T, bool) { return o.value, o.tag == OptionSome }

// Whether a Result is an error.
const (
	ResultOk  = 0
	ResultErr = 1
)

// Result is a value or an error.
type Result[T any, E any] struct {
	tag uint8
	ok  T
	err E
}

// Ok is a value.
func Ok[T any, E any](value T) Result[T, E] { return Result[T, E]{tag: ResultOk, ok: value} }

// Err is an error.
func Err[T any, E any](err E) Result[T, E] { return Result[T, E]{tag: ResultErr, err: err} }

// Tag is ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 { return r.tag }

// Ok is the value; of an error, T's zero value.
func (r Result[T, E]) Ok() T { return r.ok }

// Err is the error; of a value, E's zero value.
func (r Result[T, E]) Err() E { return r.err }

// Unit is the value of a result that has none.
type Unit struct{}

// Tuple2 is two values.
type Tuple2[T0 any, T1 any] struct {
	F0 T0
	F1 T1
}
