/* What outlives a swap. */

#include "features.h"

typedef struct counter {
    unsigned messages;
} counter;

static void init_counter(ws_connection *conn) { set_own(conn, calloc(1, sizeof(counter))); }

static void count(ws_connection *conn, ws_message message) {
    (void)message;
    counter *counter = own(conn);
    ws_printf(conn, "%u", ++counter->messages);
}

static bool suspend_counter(ws_connection *conn, ws_buffer *state) {
    ws_append_format(state, "%u", ((counter *)own(conn))->messages);
    return true;
}

static const char *resume_counter(ws_connection *conn, ws_bytes state) {
    init_counter(conn);
    ((counter *)own(conn))->messages = (unsigned)strtoul(state.data, NULL, 10);
    return NULL;
}

/* Kept as JSON: the state is what is reported. */
typedef struct kept {
    ws_buffer json;
} kept;

static void init_kept(ws_connection *conn) { set_own(conn, calloc(1, sizeof(kept))); }

static void free_kept(ws_connection *conn) {
    if (own(conn) != NULL) ws_buffer_free(&((kept *)own(conn))->json);
}

static void keep(ws_connection *conn, ws_message message) {
    kept *kept = own(conn);
    if (strcmp(message.data, "set") == 0) {
        ws_buffer_free(&kept->json);
        ws_append_text(&kept->json, "{\"text\":");
        ws_append_json_string(&kept->json, "gr\xc3\xbc\xc3\x9f \"dich\"", SIZE_MAX);
        ws_append_text(&kept->json, ",\"bytes\":[0,255],\"number\":2.5,\"list\":[1,\"two\",null],\"map\":{\"a\":{\"b\":true}}");
        ws_append_text(&kept->json, ",\"id\":");
        ws_append_json_string(&kept->json, ws_id(conn), SIZE_MAX);
        ws_append_text(&kept->json, "}");
    } else {
        ws_write_message(conn, ws_buffer_text(&kept->json));
    }
}

static bool suspend_kept(ws_connection *conn, ws_buffer *state) {
    ws_buffer *json = &((kept *)own(conn))->json;
    ws_append(state, json->data, json->length);
    return true;
}

static const char *resume_kept(ws_connection *conn, ws_bytes state) {
    ws_json value;
    init_kept(conn);
    if (state.length > 0 && !ws_json_parse(state.data, state.length, &value)) return "this is no JSON";
    ws_append(&((kept *)own(conn))->json, state.data, state.length);
    return NULL;
}

static const char *refuse(ws_connection *conn, ws_bytes state) {
    (void)conn, (void)state;
    return "not this state";
}

/* What the connections of one instance have in common. */
static struct room {
    unsigned messages;
    ws_connection **people;
    size_t count;
} room;

static void enter(ws_connection *conn) {
    room.people = realloc(room.people, (room.count + 1) * sizeof *room.people);
    room.people[room.count++] = conn;
}

static void leave(ws_connection *conn) {
    for (size_t i = 0; i < room.count; i++) {
        if (room.people[i] == conn) room.people[i--] = room.people[--room.count];
    }
}

static void say(ws_connection *conn, ws_message message) {
    (void)conn;
    room.messages++;
    for (size_t i = 0; i < room.count; i++) ws_printf(room.people[i], "%u %s", room.messages, message.data);
}

static const char *reenter(ws_connection *conn, ws_bytes state) {
    (void)state;
    enter(conn);
    return NULL;
}

bool ws_shared_suspend(ws_buffer *state) {
    ws_append_format(state, "%u", room.messages);
    return true;
}

const char *ws_shared_resume(ws_bytes state) {
    room.messages = (unsigned)strtoul(state.data, NULL, 10);
    return NULL;
}

const feature states[] = {
    { .name = "counter", .init = init_counter, .on_message = count, .suspend = suspend_counter, .resume = resume_counter },
    { .name = "keep", .init = init_kept, .on_message = keep, .free = free_kept, .suspend = suspend_kept, .resume = resume_kept },
    { .name = "refuse", .on_message = echo, .resume = refuse },
    { .name = "room", .open = enter, .on_message = say, .free = leave, .resume = reenter },
    { 0 },
};
