package runtime

import "unsafe"

// What the adapter of WASI asks for before Go's runtime is there: 64 KiB for itself, and what it is asked to read. Pages that are not
// touched cost nothing.
var (
	early     [256 << 10]byte
	earlyUsed uintptr
	isRunning bool
)

func init() {
	isRunning = true
}

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if isRunning {
		memory := allocate(size, align)
		if oldSize > 0 && memory != nil {
			copy(unsafe.Slice((*byte)(memory), size), unsafe.Slice((*byte)(old), oldSize))
		}
		return memory
	}
	begin := uintptr(unsafe.Pointer(&early))
	start := (begin+earlyUsed+align-1)&^(align-1) - begin
	earlyUsed = start + size
	// Past the end it panics, which without a runtime is a trap.
	return unsafe.Pointer(&early[start : start+size][0])
}
