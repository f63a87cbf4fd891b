/* What reaches a connection without its peer's doing. */

#include "features.h"

static void topic(ws_connection *conn, ws_message message) {
    char command[16], name[64];
    const char *rest = first_word(message.data, command, sizeof command);
    const char *text = first_word(rest, name, sizeof name);
    if (strcmp(command, "subscribe") == 0) {
        report(conn, ws_subscribe(conn, name));
    } else if (strcmp(command, "unsubscribe") == 0) {
        ws_unsubscribe(conn, name);
        report(conn, WS_OK);
    } else if (strcmp(command, "publish") == 0) {
        report(conn, ws_publish_text(name, text));
    } else if (strcmp(command, "publish-binary") == 0) {
        report(conn, ws_publish(name, (ws_message){ WS_BINARY, text, strlen(text) }));
    }
}

static void timer(ws_connection *conn, ws_message message) {
    const char *set = after(message.data, "set"), *clear = after(message.data, "clear");
    if (clear != NULL) {
        ws_clear_timer(conn, (uint32_t)strtoul(clear, NULL, 10));
    } else if (set != NULL) {
        char *end;
        uint32_t token = (uint32_t)strtoul(set, &end, 10);
        ws_error error = ws_set_timer(conn, token, (uint32_t)strtoul(end, NULL, 10));
        if (error != WS_OK) report(conn, error);
    }
}

static void rang(ws_connection *conn, uint32_t token) { ws_printf(conn, "timer %u", token); }

const feature topics[] = {
    { .name = "topics", .on_message = topic },
    { .name = "timers", .on_message = timer, .on_timer = rang },
    { 0 },
};
