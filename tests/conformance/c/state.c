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

/* Values of every kind, as the suite sends them; what goes over is the struct as it is. */
enum { MOST = 8, LONGEST = 64 };

typedef struct kept {
    double number;
    size_t text_length, bytes_length, list_length, set_length, map_length;
    char text[LONGEST];
    uint8_t bytes[MOST];
    ws_json_kind list[MOST];
    char set[MOST][LONGEST];
    struct { char outer[LONGEST], inner[LONGEST]; double value; } map[MOST];
} kept;

static void init_kept(ws_connection *conn) { set_own(conn, calloc(1, sizeof(kept))); }

static void copy_text(char into[LONGEST], ws_json from) { snprintf(into, LONGEST, "%s", ws_json_string(from, NULL)); }

static void fill(kept *kept, ws_json asked) {
    ws_json key, item = { 0 };
    const char *text = ws_json_string(ws_json_member(asked, "text"), &kept->text_length);
    if (kept->text_length > LONGEST) ws_fail("too long: %s", text);
    memcpy(kept->text, text, kept->text_length);
    kept->number = ws_json_number(ws_json_member(asked, "number"), 0);
    while (ws_json_next(ws_json_member(asked, "bytes"), NULL, &item) && kept->bytes_length < MOST) kept->bytes[kept->bytes_length++] = (uint8_t)ws_json_number(item, 0);
    item = (ws_json){ 0 };
    while (ws_json_next(ws_json_member(asked, "list"), NULL, &item) && kept->list_length < MOST) kept->list[kept->list_length++] = ws_json_kind_of(item);
    item = (ws_json){ 0 };
    while (ws_json_next(ws_json_member(asked, "set"), NULL, &item) && kept->set_length < MOST) copy_text(kept->set[kept->set_length++], item);
    item = (ws_json){ 0 };
    /* Of each inner map the first member. */
    while (ws_json_next(ws_json_member(asked, "map"), &key, &item) && kept->map_length < MOST) {
        ws_json inner_key, inner = { 0 };
        copy_text(kept->map[kept->map_length].outer, key);
        if (!ws_json_next(item, &inner_key, &inner)) continue;
        copy_text(kept->map[kept->map_length].inner, inner_key);
        kept->map[kept->map_length++].value = ws_json_number(inner, 0);
    }
}

static void append_kept(ws_buffer *json, const kept *kept) {
    ws_append_text(json, "{\"text\":");
    ws_append_json_string(json, kept->text, kept->text_length);
    ws_append_format(json, ",\"number\":%.17g,\"bytes\":[", kept->number);
    for (size_t i = 0; i < kept->bytes_length; i++) ws_append_format(json, i > 0 ? ",%d" : "%d", kept->bytes[i]);
    ws_append_text(json, "],\"list\":[");
    for (size_t i = 0; i < kept->list_length; i++) {
        const char *word = kept->list[i] == WS_JSON_NULL ? "null" : kept->list[i] == WS_JSON_TRUE ? "true" : "false";
        ws_append_format(json, i > 0 ? ",%s" : "%s", word);
    }
    ws_append_text(json, "],\"set\":[");
    for (size_t i = 0; i < kept->set_length; i++) {
        if (i > 0) ws_append_text(json, ",");
        ws_append_json_string(json, kept->set[i], SIZE_MAX);
    }
    ws_append_text(json, "],\"map\":{");
    for (size_t i = 0; i < kept->map_length; i++) {
        if (i > 0) ws_append_text(json, ",");
        ws_append_json_string(json, kept->map[i].outer, SIZE_MAX);
        ws_append_text(json, ":{");
        ws_append_json_string(json, kept->map[i].inner, SIZE_MAX);
        ws_append_format(json, ":%.17g}", kept->map[i].value);
    }
    ws_append_text(json, "}}");
}

static void keep(ws_connection *conn, ws_message message) {
    kept *kept = own(conn);
    const char *values = after(message.data, "set");
    ws_json asked;
    if (values != NULL) {
        *kept = (struct kept){ 0 };
        if (!ws_json_parse(values, strlen(values), &asked)) ws_fail("not JSON: %s", values);
        fill(kept, asked);
    } else {
        ws_buffer json = { 0 };
        append_kept(&json, kept);
        ws_write_message(conn, ws_buffer_text(&json));
        ws_buffer_free(&json);
    }
}

static bool suspend_kept(ws_connection *conn, ws_buffer *state) {
    ws_append(state, own(conn), sizeof(kept));
    return true;
}

static const char *resume_kept(ws_connection *conn, ws_bytes state) {
    init_kept(conn);
    if (state.length != sizeof(kept)) return "these are other values";
    memcpy(own(conn), state.data, sizeof(kept));
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
    bool stays, is_refused;
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
    const char *refused = after(message.data, "refuse");
    (void)conn;
    if (refused != NULL) {
        room.stays = strcmp(refused, "suspend") == 0;
        room.is_refused = strcmp(refused, "resume") == 0;
        return;
    }
    room.messages++;
    for (size_t i = 0; i < room.count; i++) ws_printf(room.people[i], "%u %s", room.messages, message.data);
}

static const char *reenter(ws_connection *conn, ws_bytes state) {
    (void)state;
    enter(conn);
    return NULL;
}

bool ws_shared_suspend(ws_buffer *state) {
    ws_append_format(state, room.is_refused ? "refused" : "%u", room.messages);
    return !room.stays;
}

const char *ws_shared_resume(ws_bytes state) {
    if (strcmp(state.data, "refused") == 0) return "not this room";
    room.messages = (unsigned)strtoul(state.data, NULL, 10);
    return NULL;
}

const feature states[] = {
    { .name = "counter", .init = init_counter, .on_message = count, .suspend = suspend_counter, .resume = resume_counter },
    { .name = "keep", .init = init_kept, .on_message = keep, .suspend = suspend_kept, .resume = resume_kept },
    { .name = "refuse", .on_message = echo, .resume = refuse },
    { .name = "room", .open = enter, .on_message = say, .free = leave, .resume = reenter },
    { 0 },
};
