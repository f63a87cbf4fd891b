/**
 * @file
 * JSON for handlers: enough to read what a page sends and to write what it is told.
 *
 *     ws_json request;
 *     if (ws_json_parse(message.data, message.length, &request)) {
 *         const char *name = ws_json_string(ws_json_member(request, "name"), NULL);
 *         ...
 *     }
 *
 * Writing is appending to a ws_buffer: ws_append_text(&out, "{\"name\":"), ws_append_json_string(&out, name, SIZE_MAX), ...
 */
#ifndef WATERSPOUT_JSON_H
#define WATERSPOUT_JSON_H

#include "waterspout.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A value, as its place in the text that was parsed, which must live as long; `text` is NULL if there is none. */
typedef struct ws_json {
    const char *text;
    size_t length;
} ws_json;

/** What a value is. */
typedef enum ws_json_kind {
    /** There is no value. */
    WS_JSON_NONE,
    WS_JSON_NULL,
    WS_JSON_FALSE,
    WS_JSON_TRUE,
    WS_JSON_NUMBER,
    WS_JSON_STRING,
    WS_JSON_ARRAY,
    WS_JSON_OBJECT,
} ws_json_kind;

/** Whether the text is JSON (RFC 8259) in UTF-8, with at most 128 arrays and objects in one another; then `value` is what it says. */
bool ws_json_parse(const char *text, size_t length, ws_json *value);

/** What it is. */
ws_json_kind ws_json_kind_of(ws_json value);

/** The member of an object with that name, the last of several; none if there is none, or if it is no object. */
ws_json ws_json_member(ws_json object, const char *name);

/**
 * Goes through an array or object, beginning with an `item` that is none: false at the end. `key` is NULL or is set to the name of
 * an object's member.
 *
 *     ws_json item = {0};
 *     while (ws_json_next(list, NULL, &item)) { ... }
 */
bool ws_json_next(ws_json container, ws_json *key, ws_json *item);

/** The string that a value is, decoded, or NULL if it is none. `length` is NULL or is set to its bytes. It lives as all that functions return. */
const char *ws_json_string(ws_json value, size_t *length);

/** The number that a value is, or `otherwise`. */
double ws_json_number(ws_json value, double otherwise);

/** Adds a string in its quotes; up to the NUL if `length` is SIZE_MAX. What is not UTF-8 becomes U+FFFD. */
void ws_append_json_string(ws_buffer *buffer, const char *text, size_t length);

#ifdef __cplusplus
}
#endif

#endif
