/* A host for tests: it notes what is written, and answers what the test has set. */

#ifndef HOST_H
#define HOST_H

#include "bindings/guest.h"

extern struct host {
    /* What the request says. */
    const char *query;
    /* What the next call that can fail answers; -1 is success. */
    int error;
    /* The last message, its kind, and how many there were. */
    char written[256];
    size_t written_length;
    int kind;
    int writes;
    /* Handles that were given back. */
    int dropped;
    /* What close() was called with; -1 is none. */
    int close_code;
    const char *close_reason;
} host;

/* A string as the bindings hand it over: from cabi_realloc. */
guest_string_t handed_over(const char *text);

#endif
