// Package runtime is what generated bindings stand on: handles of the host, and memory for what the host hands over.
//
// The memory is the garbage collector's, and is held by nothing while only numbers lead to it: between cabi_realloc and the export
// that the host then calls, and while the host fills what an import returns. So the collector must not run by itself; package
// waterspout turns it off and starts it where it does no harm.
package runtime

import (
	"runtime"
	"unsafe"
)

// Handle is the number by which the host knows a resource; 0 once it was given back.
type Handle struct {
	value int32
}

// MakeHandle wraps a number.
func MakeHandle(value int32) *Handle { return &Handle{value} }

// Use is the number. It panics if the handle was given back.
func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("a handle is used after it was given back")
	}
	return h.value
}

// Take is Use, and the handle is this side's no more.
func (h *Handle) Take() int32 {
	value := h.Use()
	h.value = 0
	return value
}

// TakeOrNil is Take, or 0 if there is nothing to take.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}

// Set puts a number back.
func (h *Handle) Set(value int32) { h.value = value }

// Allocate makes memory that stays where it is until the pinner lets go.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	memory := allocate(size, align)
	if memory != nil {
		pinner.Pin(memory)
	}
	return memory
}

// No pointers are in it as far as the collector knows.
func allocate(size, align uintptr) unsafe.Pointer {
	switch {
	case size == 0:
		return nil
	case align <= 1:
		return unsafe.Pointer(unsafe.SliceData(make([]uint8, size)))
	default:
		// The largest alignment of the canonical ABI.
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	}
}

// Unpin is called by exports once their arguments have been read.
func Unpin() {}
