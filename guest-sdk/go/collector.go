package waterspout

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The collector must not be at work while the host calls cabi_realloc, where nothing may be called back: not the clock that it reads,
// nor the drops of what it finds (wasmtime issue 14318). So it runs where this package says, to its end.

const (
	// What may be allocated before it is looked at again. Looking costs about what a message does.
	lookAfterCalls = 32
	// At least so much is allocated between two collections; else as much as was left by the last one, as with GOGC=100.
	leastBetween = 4 << 20
)

var (
	callsSinceLook int
	allocatedAt    uint64
	between        uint64 = leastBetween
	samples               = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
)

// The collector leaves itself alone.
func takeOverCollector() { debug.SetGCPercent(-1) }

// collectIfDue runs the collector if enough has been allocated. It is called in events only.
func collectIfDue() {
	callsSinceLook++
	if callsSinceLook < lookAfterCalls {
		return
	}
	callsSinceLook = 0
	metrics.Read(samples[:1])
	allocated := samples[0].Value.Uint64()
	if allocated-allocatedAt < between {
		return
	}
	runtime.GC()
	// Cleanups that it found are run here, and not when the host hands over the next message.
	runtime.Gosched()
	allocatedAt = allocated
	metrics.Read(samples[1:])
	between = max(leastBetween, samples[1].Value.Uint64())
}
