/* Memory that lives until a function of the handler returns, and bytes that grow. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

typedef struct temporary {
    struct temporary *next;
    _Alignas(max_align_t) char data[];
} temporary;

static temporary *temporaries;

void *ws_allocate(size_t bytes) {
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) __builtin_trap();
    return memory;
}

void *ws_temporary(size_t bytes) {
    temporary *memory = ws_allocate(sizeof(temporary) + bytes);
    memory->next = temporaries;
    temporaries = memory;
    return memory->data;
}

char *ws_temporary_text(const void *text, size_t length) {
    char *copy = ws_temporary(length + 1);
    if (length > 0) memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

void ws_free_temporaries(void) {
    while (temporaries != NULL) {
        temporary *first = temporaries;
        temporaries = first->next;
        free(first);
    }
}

/* Room for so many bytes more, and a NUL. */
static char *reserve(ws_buffer *buffer, size_t length) {
    size_t needed;
    if (__builtin_add_overflow(buffer->length, length, &needed) || needed == SIZE_MAX) __builtin_trap();
    needed++;
    if (needed > buffer->capacity) {
        size_t capacity = buffer->capacity <= SIZE_MAX / 2 ? buffer->capacity * 2 : SIZE_MAX;
        if (capacity < needed) capacity = needed;
        if (capacity < 64) capacity = 64;
        char *data = realloc(buffer->data, capacity);
        if (data == NULL) __builtin_trap();
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->length;
}

void ws_append(ws_buffer *buffer, const void *data, size_t length) {
    char *end = reserve(buffer, length);
    if (length > 0) memcpy(end, data, length);
    end[length] = '\0';
    buffer->length += length;
}

void ws_append_text(ws_buffer *buffer, const char *text) {
    ws_append(buffer, text, strlen(text));
}

static void append_arguments(ws_buffer *buffer, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) __builtin_trap();
    char *end = reserve(buffer, (size_t)length);
    vsnprintf(end, (size_t)length + 1, format, arguments);
    buffer->length += (size_t)length;
}

void ws_append_format(ws_buffer *buffer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    append_arguments(buffer, format, arguments);
    va_end(arguments);
}

ws_message ws_buffer_text(const ws_buffer *buffer) {
    return (ws_message){ WS_TEXT, buffer->data != NULL ? buffer->data : "", buffer->length };
}

void ws_buffer_free(ws_buffer *buffer) {
    free(buffer->data);
    *buffer = (ws_buffer){ 0 };
}

ws_error ws_printf(ws_connection *conn, const char *format, ...) {
    ws_buffer buffer = { 0 };
    va_list arguments;
    va_start(arguments, format);
    append_arguments(&buffer, format, arguments);
    va_end(arguments);
    ws_error error = ws_write_message(conn, ws_buffer_text(&buffer));
    ws_buffer_free(&buffer);
    return error;
}

void ws_fail_at(const char *file, int line, const char *format, ...) {
    ws_buffer buffer = { 0 };
    va_list arguments;
    va_start(arguments, format);
    append_arguments(&buffer, format, arguments);
    va_end(arguments);
    /* In one piece: each write is a record of the log. */
    fflush(stdout);
    fprintf(stderr, "%s:%d: %s\n", file, line, buffer.data);
    __builtin_trap();
}
