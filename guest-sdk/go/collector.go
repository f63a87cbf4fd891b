package waterspout

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The collector must not be at work while the host calls cabi_realloc, where nothing may be called back: not the clock that it reads,
// nor the drops of what it finds (wasmtime issue 14318). So it runs where this package says, to its end.

const (
	// What was allocated is looked at again after so many calls at most. Looking costs about what a message does.
	mostBetweenLooks = 48
	// Or after messages of so many bytes together.
	lookAfterBytes = 1 << 20
	// At least so much is allocated between two collections; else as much as was left by the last one, as with GOGC=100.
	leastBetween = 4 << 20
)

// watch tells when it is time to look. A handler that allocates much in each call is looked at after each, whatever its messages have.
type watch struct {
	calls, bytes int
	// So many calls until the next look.
	every int
	// What had been allocated when it was looked at last.
	seen uint64
}

// isDue notes a call that handed over a message of so many bytes, either way.
func (w *watch) isDue(bytes int) bool {
	w.calls++
	w.bytes += bytes
	return w.calls >= w.every || w.bytes >= lookAfterBytes
}

// looked notes what had been allocated by then, and chooses the time of the next look: what comes until then without being seen must
// be little beside what is allocated between collections.
func (w *watch) looked(allocated uint64) {
	every := 1
	if allocated-w.seen < leastBetween/4 {
		every = min(2*w.every, mostBetweenLooks)
	}
	*w = watch{every: every, seen: allocated}
}

var (
	looks       = watch{every: 1}
	collectedAt uint64
	between     uint64 = leastBetween
	samples            = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
)

// The collector leaves itself alone.
func takeOverCollector() { debug.SetGCPercent(-1) }

// collectIfDue runs the collector if enough has been allocated. It is called in events only, with the length of the message that was
// handed over: what the host puts there is allocated, and handlers copy what they are told and what they say.
func collectIfDue(bytes int) {
	if !looks.isDue(bytes) {
		return
	}
	metrics.Read(samples[:1])
	allocated := samples[0].Value.Uint64()
	looks.looked(allocated)
	if allocated-collectedAt < between {
		return
	}
	runtime.GC()
	// Cleanups that it found are run here, and not when the host hands over the next message.
	runtime.Gosched()
	collectedAt = allocated
	metrics.Read(samples[1:])
	between = max(leastBetween, samples[1].Value.Uint64())
}
