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

static void timer(ws_connection *conn, const char *command) {
    const char *set = after(command, "set"), *clear = after(command, "clear");
    if (clear != NULL) {
        ws_clear_timer(conn, (uint32_t)strtoul(clear, NULL, 10));
    } else if (set != NULL) {
        char *end;
        uint32_t token = (uint32_t)strtoul(set, &end, 10);
        ws_error error = ws_set_timer(conn, token, (uint32_t)strtoul(end, NULL, 10));
        if (error != WS_OK) report(conn, error);
    }
}

static void timers(ws_connection *conn, ws_message message) {
    for (const char *command = message.data; command != NULL;) {
        timer(conn, command);
        const char *end = strstr(command, "; ");
        command = end != NULL ? end + 2 : NULL;
    }
}

static void rang(ws_connection *conn, uint32_t token) { ws_printf(conn, "timer %u", token); }

const feature topics[] = {
    { .name = "topics", .on_message = topic },
    { .name = "timers", .on_message = timers, .on_timer = rang },
    { 0 },
};
