/* Messages both ways, and what a handler has beside its connection. */

#include <time.h>
#include <unistd.h>

#include "features.h"

void echo(ws_connection *conn, ws_message message) { ws_write_message(conn, message); }

static void json(ws_connection *conn, ws_message message) {
    ws_json value;
    if (!ws_json_parse(message.data, message.length, &value)) {
        ws_write_text(conn, "not json");
        return;
    }
    ws_buffer out = { 0 };
    ws_append_text(&out, "{\"got\":");
    ws_append(&out, value.text, value.length);
    ws_append_text(&out, ",\"kind\":");
    ws_append_json_string(&out, "json", SIZE_MAX);
    ws_append_text(&out, "}");
    ws_write_message(conn, ws_buffer_text(&out));
    ws_buffer_free(&out);
}

static void print(ws_connection *conn, ws_message message) {
    (void)conn;
    const char *error = after(message.data, "eprint");
    if (error != NULL) fprintf(stderr, "%s\n", error);
    else printf("%s\n", message.data);
    fflush(stdout);
}

/* random() of the C library begins alike in every instance. */
static double random_number(void) {
    uint64_t bits;
    if (getentropy(&bits, sizeof bits) != 0) ws_fail("no randomness");
    return (double)(bits >> 11) / (double)(1ull << 53);
}

static void clock_and_random(ws_connection *conn, ws_message message) {
    (void)message;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    ws_printf(conn, "{\"now\":%.6f,\"random\":%.17g}", seconds, random_number());
}

static void config(ws_connection *conn, ws_message message) {
    const char *value = ws_config(message.data);
    ws_write_text(conn, value != NULL ? value : "none");
}

const feature messages[] = {
    { .name = "echo", .on_message = echo },
    { .name = "json", .on_message = json },
    { .name = "print", .on_message = print },
    { .name = "clock", .on_message = clock_and_random },
    { .name = "config", .on_message = config },
    { 0 },
};
