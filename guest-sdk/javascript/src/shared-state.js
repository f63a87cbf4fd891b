// The exported interface shared-state, where the component has it.

import { answering, guarded } from "./reporting.js";
import { resumeShared, suspendShared } from "./sharing.js";
import { started } from "./starting.js";
import { bytes } from "./values.js";

export const sharedState = {
  suspend: () => guarded(suspendShared),
  resume: (state) => {
    started();
    answering(() => resumeShared(bytes(state)));
  },
};
