/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * The layouts, as programs. Every call runs into the same nodes behind its name, whichever tool it is: a request's program is as large as its names.
 */
#include "engine/grammar/calls_internal.h"

#include "base/json.h"

#include <string.h>

struct building {
    struct calls *calls;
    const struct call_request *request;
    uint32_t body; /* behind what opens a call */
    uint32_t end;  /* behind all calls */
};

static uint32_t bytes_node(const struct building *b) {
    return call_node_add(b->calls, CALL_BYTES);
}

/* What nodes are is set when they are made; without memory there are none. */
static struct call_node *node_at(const struct building *b, uint32_t node) {
    static struct call_node none;
    return b->calls->failed ? &none : &b->calls->nodes[node];
}

/** The arguments, then `after`. */
static uint32_t value_node(const struct building *b, uint32_t after) {
    uint32_t node = call_node_add(b->calls, CALL_VALUE);
    node_at(b, node)->after[0] = after;
    return node;
}

static uint32_t end_node(const struct building *b, bool call_end) {
    uint32_t node = bytes_node(b);
    node_at(b, node)->complete = true;
    node_at(b, node)->call_end = call_end;
    return node;
}

static bool offered(const struct building *b, size_t tool) {
    return b->request->choice != CALL_CHOICE_NAMED || b->request->named == tool;
}

/** From `from` every name as it stands in a JSON string, its quote, then `to`. */
static void add_quoted_names(const struct building *b, uint32_t from, uint32_t to) {
    struct bytes name;
    bytes_init(&name, SIZE_MAX / 2);
    for (size_t t = 0; t < b->calls->tool_count; t++) {
        if (!offered(b, t)) continue;
        bytes_reset(&name);
        if (json_append_string(&name, b->calls->names[t]) != STATUS_OK) b->calls->failed = true;
        if (b->calls->failed) break;
        uint32_t last = call_text_add(b->calls, from, bytes_view_of(name.data + 1, name.length - 2));
        call_edge_add(b->calls, last, '"', '"', to, (uint32_t)t + 1);
    }
    bytes_deinit(&name);
}

/** From `from` every name as it is, then the control token, then `to`. */
static void add_names(const struct building *b, uint32_t from, int32_t control, uint32_t to) {
    for (size_t t = 0; t < b->calls->tool_count; t++) {
        if (!offered(b, t)) continue;
        uint32_t last = call_text_add(b->calls, from, b->calls->names[t]);
        call_control_add(b->calls, last, control, to, (uint32_t)t + 1);
    }
}

/** Nine letters and digits from `from`; returns the node behind them. */
static uint32_t add_id(const struct building *b, uint32_t from) {
    for (int i = 0; i < CALL_ID_BYTES; i++) {
        uint32_t to = bytes_node(b);
        node_at(b, from)->is_id = true;
        call_edge_add(b->calls, from, '0', '9', to, 0);
        call_edge_add(b->calls, from, 'A', 'Z', to, 0);
        call_edge_add(b->calls, from, 'a', 'z', to, 0);
        from = to;
    }
    return from;
}

/** [TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "123456789"}, …] */
static void build_list(struct building *b) {
    uint32_t done = bytes_node(b), close = bytes_node(b), value = value_node(b, close), tail = bytes_node(b);
    uint32_t item = bytes_node(b), names = bytes_node(b), id = bytes_node(b), list = bytes_node(b);
    b->body = bytes_node(b);
    b->end = end_node(b, false);
    /* SentencePiece vocabularies put a blank in front of a text. */
    call_link(b->calls, b->body, "[", item);
    call_link(b->calls, b->body, " ", list);
    call_link(b->calls, list, "[", item);
    call_link(b->calls, item, "{\"name\": \"", names);
    add_quoted_names(b, names, tail);
    call_link(b->calls, tail, ", \"arguments\": ", value);
    call_link(b->calls, close, "}", done);
    call_link(b->calls, close, ", \"id\": \"", id);
    call_link(b->calls, add_id(b, id), "\"}", done);
    node_at(b, done)->call_end = true;
    call_link(b->calls, done, "]", b->end);
    if (b->request->parallel) call_link(b->calls, done, ", ", item);
}

/** [TOOL_CALLS] f [CALL_ID] 123456789 [ARGS] {} …, or without the id. */
static void build_control(struct building *b, bool with_id) {
    const struct call_format *format = b->calls->format;
    b->end = end_node(b, true);
    uint32_t value = value_node(b, b->end);
    b->body = bytes_node(b);
    if (with_id) {
        uint32_t id = bytes_node(b);
        add_names(b, b->body, format->call_id.control, id);
        call_control_add(b->calls, add_id(b, id), format->arguments.control, value, 0);
    } else {
        add_names(b, b->body, format->arguments.control, value);
    }
    if (b->request->parallel) call_control_add(b->calls, b->end, format->open.control, b->body, 0);
}

/** <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>, one behind the other with line ends between. */
static void build_tags(struct building *b) {
    const struct call_format *format = b->calls->format;
    uint32_t closed = bytes_node(b), close = bytes_node(b), value = value_node(b, close), tail = bytes_node(b);
    uint32_t names = bytes_node(b), last = bytes_node(b), again;
    b->body = bytes_node(b);
    b->end = end_node(b, false);
    call_link(b->calls, b->body, "\n{\"name\": \"", names);
    add_quoted_names(b, names, tail);
    call_link(b->calls, tail, ", \"arguments\": ", value);
    call_link(b->calls, close, "}", closed);
    node_at(b, closed)->call_end = true;
    call_link(b->calls, closed, "\n", last);
    call_link_mark(b->calls, last, format->close, b->end);
    if (!b->request->parallel) return;
    again = bytes_node(b);
    call_link(b->calls, b->end, "\n", again);
    call_link_mark(b->calls, again, format->open, b->body);
}

/** {"name": "f", "parameters": {}}; {…}. What opens it as text is its own beginning: the body is behind that. */
static void build_parameters(struct building *b) {
    b->end = end_node(b, true);
    uint32_t close = bytes_node(b), value = value_node(b, close), tail = bytes_node(b);
    b->body = bytes_node(b);
    add_quoted_names(b, b->body, tail);
    call_link(b->calls, tail, ", \"parameters\": ", value);
    call_link(b->calls, close, "}", b->end);
    if (!b->request->parallel) return;
    uint32_t again = bytes_node(b);
    call_link(b->calls, b->end, "; ", again);
    call_link(b->calls, again, b->calls->format->open.text, b->body);
}

/* ---- what stands around calls ---- */

/** A control token that opens a call, from `from`. */
static void open_by_control(const struct building *b, uint32_t from) {
    const struct call_format *format = b->calls->format;
    if (format->open.control < 0) return;
    uint32_t to = b->body;
    if (format->layout == CHAT_CALLS_PARAMETERS) { /* <|python_tag|> stands before the text that opens a call */
        to = bytes_node(b);
        call_link(b->calls, to, format->open.text, b->body);
    }
    call_control_add(b->calls, from, format->open.control, to, 0);
}

/** `beside`: content of a schema may stand here too. It may begin as a call without a mark does, which then takes its control token. */
static void open_call(const struct building *b, uint32_t from, bool beside) {
    const struct call_format *format = b->calls->format;
    bool text = format->open.text != NULL && (!beside || format->layout != CHAT_CALLS_PARAMETERS);
    if (text) call_link(b->calls, from, format->open.text, b->body);
    open_by_control(b, from);
}

static bool thinks(const struct building *b) {
    return b->calls->format->think.control >= 0 || b->calls->format->think.text != NULL;
}

/** A thought, which `after` follows. */
static uint32_t thought_node(const struct building *b, uint32_t after, bool complete) {
    const struct call_format *format = b->calls->format;
    uint32_t node = call_node_add(b->calls, CALL_TEXT);
    node_at(b, node)->thought = true;
    node_at(b, node)->complete = complete;
    if (format->think_end.text != NULL) node_at(b, node)->after[0] = after;
    if (format->think_end.control >= 0) call_control_add(b->calls, node, format->think_end.control, after, 0);
    return node;
}

/** Content, then calls where the choice lets them. */
static uint32_t content_node(const struct building *b, bool calls, bool go_on) {
    uint32_t node = call_node_add(b->calls, CALL_TEXT);
    node_at(b, node)->complete = true;
    node_at(b, node)->go_on = go_on;
    if (!calls) return node;
    if (b->calls->format->open.text != NULL) node_at(b, node)->after[0] = b->body;
    open_by_control(b, node);
    return node;
}

static uint32_t build_content(const struct building *b, bool calls) {
    const struct call_format *format = b->calls->format;
    uint32_t start = content_node(b, calls, b->request->continues);
    if (!thinks(b)) return start;
    uint32_t after = content_node(b, calls, true), thought = thought_node(b, after, true);
    if (format->think.text != NULL) node_at(b, start)->after[1] = thought;
    if (format->think.control >= 0) {
        call_control_add(b->calls, start, format->think.control, thought, 0);
        call_control_add(b->calls, after, format->think.control, thought, 0);
    }
    return b->request->thought_open ? thought : start;
}

/** Calls, or content of a schema (`value`; 0: none). */
static uint32_t choice_node(const struct building *b, uint32_t value, bool calls) {
    uint32_t node = bytes_node(b);
    node_at(b, node)->otherwise = value;
    if (calls) open_call(b, node, value != CALL_NOWHERE);
    return node;
}

/** The same, behind a thought where there is one; blank lines between. */
static uint32_t build_choice(const struct building *b, uint32_t value, bool calls) {
    const struct call_format *format = b->calls->format;
    uint32_t start = choice_node(b, value, calls);
    if (format->marks_blank && (value != CALL_NOWHERE || format->open.text != NULL))
        call_link(b->calls, start, " ", choice_node(b, value, calls));
    if (!thinks(b)) return start;
    uint32_t gaps[3];
    for (int i = 0; i < 3; i++) {
        gaps[i] = choice_node(b, value, calls);
        if (i > 0) call_link(b->calls, gaps[i - 1], "\n", gaps[i]);
    }
    uint32_t thought = thought_node(b, gaps[0], false);
    call_link_mark(b->calls, start, format->think, thought);
    return b->request->thought_open ? thought : start;
}

void call_layout_build(struct calls *calls, const struct call_request *request) {
    struct building b = {.calls = calls, .request = request};
    bool callable = request->choice != CALL_CHOICE_NONE && request->tool_count > 0;
    (void)call_node_add(calls, CALL_BYTES); /* CALL_NOWHERE */
    if (callable) {
        switch (calls->format->layout) {
        case CHAT_CALLS_LIST:
            build_list(&b);
            break;
        case CHAT_CALLS_ID:
            build_control(&b, true);
            break;
        case CHAT_CALLS_ARGUMENTS:
            build_control(&b, false);
            break;
        case CHAT_CALLS_TAGS:
            build_tags(&b);
            break;
        default:
            build_parameters(&b);
            break;
        }
    }
    bool content = request->choice == CALL_CHOICE_AUTO || request->choice == CALL_CHOICE_NONE;
    uint32_t value = CALL_NOWHERE;
    if (content && request->content != NULL) {
        value = call_node_add(calls, CALL_VALUE);
        node_at(&b, value)->last = true;
    }
    calls->start =
        content && request->content == NULL ? build_content(&b, callable) : build_choice(&b, value, callable);
}
