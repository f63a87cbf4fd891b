/* What the conformance handler can do: one feature for each route, chosen by the path's last segment. */

#ifndef FEATURES_H
#define FEATURES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <waterspout.h>
#include <waterspout_json.h>

/* A handler's functions; NULL for those that it leaves at their defaults. */
typedef struct feature {
    const char *name;
    void (*init)(ws_connection *);
    bool (*prepare)(ws_connection *, ws_rejection *);
    bool (*check_origin)(ws_connection *, const char *);
    const char *(*select_subprotocol)(ws_connection *, const char *const *, size_t);
    bool (*get_compression_options)(ws_connection *, ws_compression_options *);
    void (*open)(ws_connection *);
    void (*on_message)(ws_connection *, ws_message);
    void (*on_ping)(ws_connection *, ws_bytes);
    void (*on_pong)(ws_connection *, ws_bytes);
    void (*on_writable)(ws_connection *);
    void (*on_timer)(ws_connection *, uint32_t);
    void (*on_client_event)(ws_connection *, const char *, const ws_client_event *);
    void (*on_close)(ws_connection *, const ws_close_frame *);
    void (*free)(ws_connection *);
    bool (*suspend)(ws_connection *, ws_buffer *);
    const char *(*resume)(ws_connection *, ws_bytes);
} feature;

/* What every connection has: its feature, and that one's own data. */
typedef struct session {
    const feature *feature;
    void *own;
} session;

/* One list a file, ended by a feature without a name. */
extern const feature messages[], handshakes[], connections[], topics[], clients[], states[], failures[];

static inline void *own(ws_connection *conn) { return ((session *)ws_data(conn))->own; }
static inline void set_own(ws_connection *conn, void *own) { ((session *)ws_data(conn))->own = own; }

/* Writes back what it is sent. */
void echo(ws_connection *conn, ws_message message);

/* Writes "ok", or the error's kind. */
static inline void report(ws_connection *conn, ws_error error) { ws_write_text(conn, ws_error_name(error)); }

/* What follows `command` and a space in a text, or NULL if that does not begin it. */
static inline const char *after(const char *text, const char *command) {
    size_t length = strlen(command);
    return strncmp(text, command, length) == 0 && text[length] == ' ' ? text + length + 1 : NULL;
}

/* Splits off the first word of a text; what follows it is returned. */
static inline const char *first_word(const char *text, char *word, size_t size) {
    size_t length = strcspn(text, " ");
    snprintf(word, size, "%.*s", (int)length, text);
    return text[length] == ' ' ? text + length + 1 : text + length;
}

/* Closes as "CODE REASON" says, or "- " without either. */
ws_error close_as(ws_error (*close)(void *, int, const char *), void *what, const char *text);

/* Adds "WORD CODE REASON", "WORD CODE" without a reason, or "WORD none" without a frame. */
void append_end(ws_buffer *text, const char *word, const ws_close_frame *frame);

/* Adds `null`, or the text as JSON. */
static inline void append_or_null(ws_buffer *out, const char *text) {
    if (text == NULL) ws_append_text(out, "null");
    else ws_append_json_string(out, text, SIZE_MAX);
}

#endif
