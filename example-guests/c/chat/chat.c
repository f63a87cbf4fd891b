/*
 * A chat: a room is an instance. With `--path '/chat/{room}' --instance '{room}'` the host makes one instance for each value of
 * `{room}`, and all of a room's connections share its memory: who is here, and what was said.
 *
 * The page and the handler speak JSON: {"type":"join","name":"Ada"} and {"type":"say","text":"Hello"} come, {"type":"said","name":"Ada",
 * "text":"Hello","at":1700000000} and others go.
 */

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <waterspout.h>
#include <waterspout_json.h>

/* Long enough for a name, short enough for the list of people. */
enum { MAX_NAME_CHARS = 32 };

/* Bounds, with MAX_HISTORY, what a room keeps and a newcomer is sent. */
enum { MAX_TEXT_CHARS = 500 };

/* How many lines a newcomer sees. */
enum { MAX_HISTORY = 50 };

typedef struct person {
    ws_connection *conn;
    /* NULL until he has joined. */
    char *name;
    struct person *next;
} person;

/* What all connections of a room share. */
static struct {
    person *people;
    /* Lines as JSON, the oldest first. */
    char *history[MAX_HISTORY];
    size_t lines;
} room;

/* Sends to any of the room's connections. One that cannot take it must not hold up the others: nobody waits here. */
static void tell(ws_connection *conn, const ws_buffer *event) {
    /* It reads more slowly than the room talks. Rather than miss a line unnoticed it comes back, and finds the history. */
    if (ws_write_message(conn, ws_buffer_text(event)) == WS_BUFFER_FULL) ws_close(conn, 1008, "You read too slowly.");
}

static void tell_everybody(const ws_buffer *event) {
    for (person *person = room.people; person != NULL; person = person->next) {
        if (person->name != NULL) tell(person->conn, event);
    }
}

static void append_bytes(ws_buffer *event, const char *name, ws_bytes value) {
    ws_append_format(event, "%s\"%s\":", event->length > 1 ? "," : "", name);
    ws_append_json_string(event, value.data, value.length);
}

static void append_member(ws_buffer *event, const char *name, const char *value) {
    append_bytes(event, name, (ws_bytes){ value, strlen(value) });
}

static ws_buffer begin_event(const char *type) {
    ws_buffer event = { 0 };
    ws_append_text(&event, "{");
    append_member(&event, "type", type);
    return event;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* To everybody who came or left, and who is here now. */
static void tell_who_is_here(const char *type, const char *name) {
    size_t count = 0;
    for (person *person = room.people; person != NULL; person = person->next) count += person->name != NULL;
    const char **names = malloc((count + 1) * sizeof *names);
    size_t filled = 0;
    for (person *person = room.people; person != NULL; person = person->next) {
        if (person->name != NULL) names[filled++] = person->name;
    }
    qsort(names, count, sizeof *names, by_name);
    ws_buffer event = begin_event(type);
    append_member(&event, "name", name);
    ws_append_text(&event, ",\"people\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) ws_append_text(&event, ",");
        ws_append_json_string(&event, names[i], SIZE_MAX);
    }
    ws_append_text(&event, "]}");
    tell_everybody(&event);
    ws_buffer_free(&event);
    free(names);
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* The text without surrounding space: whether there is any, but not too much. A NUL is as good as any other character. */
static bool bounded(ws_bytes *text, size_t max_chars) {
    size_t chars = 0;
    while (text->length > 0 && is_space(*text->data)) text->data++, text->length--;
    while (text->length > 0 && is_space(text->data[text->length - 1])) text->length--;
    for (size_t i = 0; i < text->length; i++) chars += (text->data[i] & 0xc0) != 0x80;
    return chars >= 1 && chars <= max_chars;
}

/* Each returns what was wrong, or NULL. */

static const char *join(person *me, ws_bytes wanted) {
    /* Names are kept, compared and sorted as C's strings: none has a NUL. */
    if (!bounded(&wanted, MAX_NAME_CHARS) || memchr(wanted.data, '\0', wanted.length) != NULL) return "A name has 1 to 32 characters.";
    char *name = strndup(wanted.data, wanted.length);
    const char *wrong = me->name != NULL ? "You are here already." : NULL;
    for (person *person = room.people; wrong == NULL && person != NULL; person = person->next) {
        if (person->name != NULL && strcasecmp(person->name, name) == 0) wrong = "Somebody here has that name.";
    }
    if (wrong != NULL) {
        free(name);
        return wrong;
    }
    me->name = name;
    ws_buffer welcome = begin_event("welcome");
    append_member(&welcome, "name", name);
    ws_append_text(&welcome, ",\"history\":[");
    for (size_t i = 0; i < room.lines; i++) {
        if (i > 0) ws_append_text(&welcome, ",");
        ws_append_text(&welcome, room.history[i]);
    }
    ws_append_text(&welcome, "]}");
    tell(me->conn, &welcome);
    ws_buffer_free(&welcome);
    tell_who_is_here("joined", name);
    return NULL;
}

static void remember(const char *line) {
    if (room.lines == MAX_HISTORY) {
        free(room.history[0]);
        memmove(room.history, room.history + 1, (MAX_HISTORY - 1) * sizeof *room.history);
        room.lines--;
    }
    room.history[room.lines++] = strdup(line);
}

static const char *say(person *me, ws_bytes text) {
    if (!bounded(&text, MAX_TEXT_CHARS)) return "A text has 1 to 500 characters.";
    if (me->name == NULL) return "Join first.";
    ws_buffer line = { 0 };
    ws_append_text(&line, "{");
    append_member(&line, "name", me->name);
    append_bytes(&line, "text", text);
    ws_append_format(&line, ",\"at\":%lld}", (long long)time(NULL));
    ws_buffer event = begin_event("said");
    ws_append_text(&event, ",");
    ws_append_text(&event, line.data + 1);
    tell_everybody(&event);
    remember(line.data);
    ws_buffer_free(&event);
    ws_buffer_free(&line);
    return NULL;
}

/* ---- One connection's handler: the room does the work ---- */

static person *enter(ws_connection *conn) {
    person *me = calloc(1, sizeof *me);
    *me = (person){ .conn = conn, .next = room.people };
    room.people = me;
    ws_set_data(conn, me);
    return me;
}

void ws_init(ws_connection *conn) { enter(conn); }

/* What is said repeats itself: names, keys of JSON, the history. */
bool ws_get_compression_options(ws_connection *conn, ws_compression_options *options) {
    (void)conn, (void)options;
    return true;
}

void ws_on_message(ws_connection *conn, ws_message message) {
    ws_json request = { 0 };
    bool is_json = ws_json_parse(message.data, message.length, &request);
    const char *type = is_json ? ws_json_string(ws_json_member(request, "type"), NULL) : NULL;
    ws_bytes name = { 0 }, text = { 0 };
    if (is_json) name.data = ws_json_string(ws_json_member(request, "name"), &name.length);
    if (is_json) text.data = ws_json_string(ws_json_member(request, "text"), &text.length);
    const char *wrong = "That was neither a join nor a say.";
    if (type != NULL && name.data != NULL && strcmp(type, "join") == 0) wrong = join(ws_data(conn), name);
    if (type != NULL && text.data != NULL && strcmp(type, "say") == 0) wrong = say(ws_data(conn), text);
    if (wrong != NULL) {
        ws_buffer event = begin_event("error");
        append_member(&event, "text", wrong);
        ws_append_text(&event, "}");
        tell(conn, &event);
        ws_buffer_free(&event);
    }
}

void ws_on_close(ws_connection *conn, const ws_close_frame *frame) {
    person *me = ws_data(conn);
    (void)frame;
    char *name = me->name;
    me->name = NULL;
    if (name != NULL) tell_who_is_here("left", name);
    free(name);
}

/* Also when a new version has taken over: nobody is told of that. */
void ws_free(ws_connection *conn) {
    person *me = ws_data(conn);
    person **link = &room.people;
    while (*link != NULL && *link != me) link = &(*link)->next;
    if (*link != NULL) *link = me->next;
    free(me->name);
    free(me);
}

/* ---- What goes to the next version: nobody leaves, and nothing that was said is forgotten ---- */

bool ws_suspend(ws_connection *conn, ws_buffer *state) {
    const person *me = ws_data(conn);
    if (me->name != NULL) ws_append_text(state, me->name);
    return true;
}

const char *ws_resume(ws_connection *conn, ws_bytes state) {
    person *me = enter(conn);
    if (state.length > 0) me->name = strdup(state.data);
    return NULL;
}

bool ws_shared_suspend(ws_buffer *state) {
    ws_append_text(state, "[");
    for (size_t i = 0; i < room.lines; i++) ws_append_format(state, "%s%s", i > 0 ? "," : "", room.history[i]);
    ws_append_text(state, "]");
    return true;
}

const char *ws_shared_resume(ws_bytes state) {
    ws_json history, line = { 0 };
    if (state.length == 0) return NULL;
    if (!ws_json_parse(state.data, state.length, &history)) return "the history is no JSON";
    while (ws_json_next(history, NULL, &line)) {
        char *copy = strndup(line.text, line.length);
        remember(copy);
        free(copy);
    }
    return NULL;
}
