// Package export_waterspout_websocket_shared_state is what the generated exports call: it passes everything on to package waterspout,
// which it cannot import.
package export_waterspout_websocket_shared_state

import witTypes "example.org/waterspout/internal/wit/types"

// SuspendShared and ResumeShared are package waterspout's.
var (
	SuspendShared func() witTypes.Option[[]uint8]
	ResumeShared  func(state []uint8) error
)

// Suspend leaves what handlers share.
func Suspend() witTypes.Option[[]uint8] { return SuspendShared() }

// Resume takes what handlers of an older version shared.
func Resume(state []uint8) witTypes.Result[witTypes.Unit, string] {
	if err := ResumeShared(state); err != nil {
		return witTypes.Err[witTypes.Unit](err.Error())
	}
	return witTypes.Ok[witTypes.Unit, string](witTypes.Unit{})
}
