/* What the files of this library share. */

#ifndef WATERSPOUT_INTERNAL_H
#define WATERSPOUT_INTERNAL_H

#include "waterspout.h"

/* malloc() that ends the instance when there is no memory: the host's limit is reached, and no handler goes on without. */
void *ws_allocate(size_t bytes);

/* Memory that lives until the current function of the handler returns. */
void *ws_temporary(size_t bytes);

/* A temporary copy, with a NUL behind it. */
char *ws_temporary_text(const void *text, size_t length);

/* The current function of the handler has returned. */
void ws_free_temporaries(void);

/* The value number `index` of an argument, decoded as Tornado does it, or NULL; of the last one for SIZE_MAX. */
const char *ws_query_value(const char *query, const char *name, size_t index);

/* How many bytes of UTF-8 begin at `at`, 1 to 4, or 0 if they are no character. */
size_t ws_utf8_character(const unsigned char *at, const unsigned char *end);

bool ws_is_utf8(const char *text, size_t length);

/* Stands for a byte that is no character: U+FFFD. */
#define WS_REPLACEMENT "\xef\xbf\xbd"

/* Adds a text, with replacements for what in it is not UTF-8. */
void ws_append_utf8(ws_buffer *buffer, const char *text);

#endif
