/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/grammar_check.h"

#include "base/clock.h"
#include "cli/grammar_refusal.h"
#include "cli/grammar_text.h"

#include <stdio.h>

enum { TOKENS_MAX = 1 << 27 };

struct check {
    const struct grammar_check_options *options;
    struct text_tokens texts;
    struct token_list tokens;
    struct bytes accepted, refused, masks, ids, errors; /* the inner parts of the answer's lists */
    bool first;                                         /* no mask of this instance has been written */
    bool any_refused;
};

static double microseconds(int64_t ns) {
    return (double)ns / NS_PER_US;
}

/** What stands in front of the next entry of a list. */
static void append_comma(struct bytes *list) {
    if (list->length > 0) (void)bytes_append_string(list, ", ");
}

/** The instance's state goes on by a token that has to have its bit, or by a byte that no token is. */
static enum status go_on(struct grammar_run *run, struct check *check, struct grammar_session *session,
                         struct grammar_state *state, int32_t token, bool *out_accepted, struct error *err) {
    if (token < 0) {
        const uint8_t byte = (uint8_t)(token - TEXT_BYTE);
        return grammar_accept_bytes(session, state, bytes_view_of(&byte, 1), out_accepted, err);
    }
    int64_t begin = clock_monotonic_ns(clock_system());
    TRY(grammar_mask(session, state, SIZE_MAX, run->mask, err));
    int64_t time = clock_monotonic_ns(clock_system()) - begin;
    (void)bytes_printf(&check->masks, check->first ? "%.2f" : ", %.2f", microseconds(time));
    check->first = false;
    bool allowed = grammar_run_bit(run, token);
    TRY(grammar_accept(session, state, token, out_accepted, err));
    if (*out_accepted != allowed)
        return error_set(err, STATUS_INTERNAL, "token %d: the mask says %d, and accepting it %d", token, allowed,
                         *out_accepted);
    return STATUS_OK;
}

/** Tell where the walk stands: at token `index`, which does not fit, or at the end. */
static void tell_refusal(struct grammar_run *run, struct check *check, struct grammar_session *session, size_t index,
                         const struct grammar_state *state) {
    struct grammar_refusal refusal = {.token = index, .at = *state};
    uint8_t byte;
    if (index < check->tokens.count && check->tokens.ids[index] < 0) {
        byte = (uint8_t)(check->tokens.ids[index] - TEXT_BYTE);
        refusal.refused = bytes_view_of(&byte, 1);
    } else if (index < check->tokens.count) {
        refusal.refused = tokenizer_piece(run->tokenizer, check->tokens.ids[index]);
    }
    grammar_refusal_append(session, &refusal, &check->refused);
}

static enum status walk(struct grammar_run *run, struct check *check, struct grammar *grammar, bool *out_accepted,
                        struct error *err) {
    struct grammar_session *session = NULL;
    struct grammar_state state;
    bool accepted = true;
    TRY(grammar_session_create(grammar, &session, err));
    enum status status = grammar_start(session, &state, err);
    size_t next = 0;
    while (next < check->tokens.count && status == STATUS_OK && accepted) {
        status = go_on(run, check, session, &state, check->tokens.ids[next], &accepted, err);
        if (status == STATUS_OK && accepted) next++;
    }
    if (status == STATUS_OK && accepted) status = grammar_mask(session, &state, SIZE_MAX, run->mask, err);
    if (status == STATUS_OK && accepted) {
        bool complete = grammar_complete(session, &state);
        accepted = grammar_run_may_end(run, complete);
        if (accepted != complete)
            status = error_set(err, STATUS_INTERNAL, "at the end the mask says %d, and grammar_complete %d", accepted,
                               complete);
    }
    if (status == STATUS_OK && !accepted) tell_refusal(run, check, session, next, &state);
    grammar_session_destroy(session);
    *out_accepted = status == STATUS_OK && accepted;
    return status;
}

/** One instance; what goes wrong with it is told in "errors", and it counts as refused. No grammar: no text is accepted. */
static void check_instance(struct grammar_run *run, struct check *check, struct grammar *grammar, size_t number) {
    bool accepted = false;
    struct error err = {0};
    enum status status = STATUS_OK;
    append_comma(&check->accepted);
    append_comma(&check->refused);
    append_comma(&check->masks);
    size_t told = check->refused.length;
    (void)bytes_append_byte(&check->masks, '[');
    check->first = true;
    if (grammar != NULL) status = walk(run, check, grammar, &accepted, &err);
    (void)bytes_append_byte(&check->masks, ']');
    (void)bytes_append_string(&check->accepted, accepted ? "true" : "false");
    if (!accepted) check->any_refused = true;
    if (!accepted && grammar == NULL)
        (void)bytes_append_string(&check->refused, "{\"token\": 0, \"byte\": 0, \"reason\": \"nothing satisfies it\"}");
    else if (check->refused.length == told)
        (void)bytes_append_string(&check->refused, "null");
    if (status == STATUS_OK) return;
    append_comma(&check->errors);
    (void)bytes_printf(&check->errors, "{\"instance\": %zu, \"message\": ", number);
    (void)json_append_string(&check->errors,
                             bytes_view_string(err.message[0] != 0 ? err.message : status_name(status)));
    (void)bytes_append_byte(&check->errors, '}');
}

static void append_ids(struct check *check) {
    append_comma(&check->ids);
    for (size_t i = 0; i < check->tokens.count; i++)
        (void)bytes_printf(&check->ids, "%s%d", i == 0 ? "[" : ", ", check->tokens.ids[i]);
    (void)bytes_append_string(&check->ids, check->tokens.count == 0 ? "[]" : "]");
}

static bool answer(struct grammar_run *run, const struct grammar_line *line, struct bytes *out, struct error *err,
                   void *context) {
    struct check *check = context;
    const struct json_value *instances = json_member(line->value, "instances");
    struct bytes *parts[] = {&check->accepted, &check->refused, &check->masks, &check->ids, &check->errors};
    check->any_refused = false;
    for (int i = 0; i < 5; i++) bytes_reset(parts[i]);
    bool good = instances != NULL && instances->kind == JSON_KIND_ARRAY;
    bool decided = line->grammar != NULL || line->nothing;
    size_t number = 0;
    for (const struct json_value *text = good ? instances->first : NULL; text != NULL && good; text = text->next) {
        good = text->kind == JSON_KIND_STRING;
        if (!good || (!decided && !check->options->tokens)) continue;
        if (text_tokens_of(&check->texts, text->string, &check->tokens, err) != STATUS_OK) return false;
        if (check->options->tokens) append_ids(check);
        if (decided) check_instance(run, check, line->grammar, number++);
    }
    if (!good) {
        (void)error_set(err, STATUS_INVALID_ARGUMENT, "\"instances\" is no list of strings");
        return false;
    }
    (void)bytes_printf(out, ", \"accepted\": [%s], \"compile_us\": %.2f, \"mask_us\": [%s]",
                       check->accepted.length > 0 ? (const char *)check->accepted.data : "",
                       microseconds(line->compile_ns), check->masks.length > 0 ? (const char *)check->masks.data : "");
    if (check->any_refused) (void)bytes_printf(out, ", \"refused\": [%s]", (const char *)check->refused.data);
    if (check->options->tokens)
        (void)bytes_printf(out, ", \"tokens\": [%s]", check->ids.length > 0 ? (const char *)check->ids.data : "");
    if (check->errors.length > 0) (void)bytes_printf(out, ", \"errors\": [%s]", (const char *)check->errors.data);
    return true;
}

int grammar_check_lines(struct grammar_run *run, const struct grammar_check_options *options) {
    struct check check = {.options = options, .tokens = {.max_count = TOKENS_MAX}};
    struct bytes *parts[] = {&check.accepted, &check.refused, &check.masks, &check.ids, &check.errors};
    text_tokens_init(&check.texts, run->tokenizer);
    for (int i = 0; i < 5; i++) bytes_init(parts[i], SIZE_MAX / 2);
    int result = grammar_run_lines(run, answer, &check);
    for (int i = 0; i < 5; i++) bytes_deinit(parts[i]);
    token_list_deinit(&check.tokens);
    text_tokens_deinit(&check.texts);
    return result;
}
