/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* No prompt has more tokens than chat_layout_bound says: random conversations in every layout, over every kind of tokenizer. */
#include "base/text.h"
#include "engine/chat/chat_internal.h"
#include "engine/weights/checkpoint.h"
#include "tests/support/test_model.h"
#include "tests/unit/engine/bound_fixture.h"
#include "tests/unit/engine/check.h"
#include "tests/unit/engine/tokenizer_fixture.h"

static struct checkpoint *checkpoint;
static struct bound_tokenizer tokenizers[BOUND_TOKENIZERS_MAX];
static size_t tokenizer_count;
/** A token for each byte, and the control tokens of every layout. */
static struct tokenizer *all_controls;

static const char *const controls[] = {"<unk>",
                                       "<s>",
                                       "</s>",
                                       "[INST]",
                                       "[/INST]",
                                       "[AVAILABLE_TOOLS]",
                                       "[/AVAILABLE_TOOLS]",
                                       "[TOOL_RESULTS]",
                                       "[/TOOL_RESULTS]",
                                       "[TOOL_CALLS]",
                                       "[SYSTEM_PROMPT]",
                                       "[/SYSTEM_PROMPT]",
                                       "[TOOL_CONTENT]",
                                       "[ARGS]",
                                       "[CALL_ID]",
                                       "[THINK]",
                                       "[/THINK]",
                                       "[MODEL_SETTINGS]",
                                       "[/MODEL_SETTINGS]",
                                       "<|im_start|>",
                                       "<|im_end|>",
                                       "<|start_header_id|>",
                                       "<|end_header_id|>",
                                       "<|eot_id|>",
                                       "<start_of_turn>",
                                       "<end_of_turn>"};

static int set_up(void **state) {
    (void)state;
    check_ok(checkpoint_open(test_model_path(), &checkpoint, &check_error));
    tokenizer_count = bound_tokenizers_load(tokenizers);
    all_controls = fixture_byte_tokenizer(controls, sizeof controls / sizeof controls[0]);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    bound_tokenizers_destroy(tokenizers, tokenizer_count);
    tokenizer_destroy(all_controls);
    checkpoint_close(checkpoint);
    return 0;
}

/* ---- layouts ------------------------------------------------------------------------------------------------------- */

static const char *const choices[] = {"auto",       "completion",  "chatml",      "llama-3",
                                      "gemma",      "mistral-v1",  "mistral-v2",  "mistral-v3",
                                      "mistral-v7", "mistral-v11", "mistral-v13", "mistral-v15"};
enum { CHOICES = sizeof choices / sizeof choices[0], AUTO = 0 };

/** "auto" is the test model's: ChatML with a system prompt of its own. */
static struct chat_layout *layout_of(const char *choice) {
    struct chat_layout *layout = NULL;
    check_ok(chat_layout_load_as(choice, checkpoint, all_controls, &layout, &check_error));
    return layout;
}

/** The same over a vocabulary that may lack the control tokens: those of ids are another's then, those of names are text. */
static void carry_over(struct chat_layout *layout, const struct tokenizer *tokenizer) {
    int32_t last = tokenizer_vocabulary(tokenizer) - 1;
    layout->tokenizer = tokenizer;
    if (layout->kind == CHAT_LAYOUT_CHATML) layout->chatml.turn_start = layout->chatml.turn_end = last;
    layout->mistral.bos = layout->mistral.eos = last;
    for (int i = 0; i < MISTRAL_CONTROLS; i++) layout->mistral.controls[i] = last;
}

/* ---- conversations ------------------------------------------------------------------------------------------------- */

enum { MESSAGES_MAX = 12, PARTS_MAX = 3 };

struct drawn {
    struct chat_message messages[MESSAGES_MAX];
    struct chat_part parts[MESSAGES_MAX][PARTS_MAX];
    struct bytes texts[MESSAGES_MAX][PARTS_MAX];
    struct chat_conversation conversation;
    int64_t messages_counted, bytes;
};

static struct bytes_view draw_text(struct bound_random *random, const struct tokenizer *tokenizer, struct bytes *out) {
    bytes_init(out, 1 << 20);
    bound_text_append(random, tokenizer, out);
    assert_true(text_is_utf8(out->data, out->length));
    return bytes_view(out);
}

static void draw_content(struct bound_random *random, const struct tokenizer *tokenizer, struct drawn *out, size_t at) {
    struct chat_message *message = &out->messages[at];
    size_t count = bound_draw(random, 4) > 0 ? 1 : 1 + bound_draw(random, PARTS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct bytes_view text = draw_text(random, tokenizer, &out->texts[at][i]);
        out->bytes += (int64_t)text.length;
        out->parts[at][i] = (struct chat_part){.kind = CHAT_PART_TEXT, .text = text};
    }
    out->messages_counted += (int64_t)count;
    if (count == 1) {
        message->content = out->parts[at][0].text;
        return;
    }
    message->parts = out->parts[at];
    message->part_count = count;
}

/** Turns one after the other behind a system prompt or none, or, where layouts take them so, any roles. */
static void draw(struct bound_random *random, const struct tokenizer *tokenizer, struct drawn *out) {
    static const char *const efforts[] = {"", "", "none", "high"};
    *out = (struct drawn){0};
    size_t count = 1 + bound_draw(random, MESSAGES_MAX), system = bound_draw(random, 2);
    bool any = bound_draw(random, 3) == 0;
    for (size_t i = 0; i < count; i++) {
        enum chat_role role = i < system              ? CHAT_ROLE_SYSTEM
                              : (i - system) % 2 == 0 ? CHAT_ROLE_USER
                                                      : CHAT_ROLE_ASSISTANT;
        out->messages[i].role = any ? (enum chat_role)bound_draw(random, 3) : role;
        draw_content(random, tokenizer, out, i);
    }
    struct chat_message *last = &out->messages[count - 1];
    last->prefix = last->role == CHAT_ROLE_ASSISTANT && bound_draw(random, 2) == 0;
    out->conversation = (struct chat_conversation){
        .messages = out->messages,
        .message_count = count,
        .tools_in_words = bound_draw(random, 2) == 0,
        .reasoning_effort = bytes_view_string(efforts[bound_draw(random, sizeof efforts / sizeof efforts[0])])};
}

static void destroy(struct drawn *drawn) {
    for (size_t i = 0; i < drawn->conversation.message_count; i++) {
        for (size_t j = 0; j < PARTS_MAX; j++) bytes_deinit(&drawn->texts[i][j]);
    }
}

static int64_t most_tokens(const struct chat_layout *layout, int64_t messages, int64_t bytes) {
    struct chat_prompt_bound bound;
    if (!chat_layout_bound(layout, &bound)) fail_msg("%s has no bound", layout->name);
    return bound.fixed + bound.message * messages + bound.byte * bytes;
}

/** How many of `rounds` conversations the layout took. */
static int check_random(const struct chat_layout *layout, const char *name, uint64_t seed, int rounds) {
    struct bound_random random = {.seed = seed};
    int taken = 0;
    for (int i = 0; i < rounds; i++) {
        struct drawn drawn;
        struct token_list ids = {.max_count = 1 << 20};
        struct chat_window window = {.max_tokens = 60};
        draw(&random, layout->tokenizer, &drawn);
        int64_t most = most_tokens(layout, drawn.messages_counted, drawn.bytes);
        if (chat_layout_render(layout, &drawn.conversation, &ids, &check_error) == STATUS_OK) {
            taken++;
            if ((int64_t)ids.count > most)
                fail_msg("%s over %s, conversation %d of seed %llu: %zu tokens where %lld are the most", layout->name,
                         name, i, (unsigned long long)seed, ids.count, (long long)most);
        }
        ids.count = 0;
        if (chat_layout_render_window(layout, &drawn.conversation, &window, &ids, &check_error) == STATUS_OK)
            assert_in_range(ids.count, 0, most);
        token_list_deinit(&ids);
        destroy(&drawn);
    }
    check_error = (struct error){0};
    return taken;
}

static void test_no_prompt_passes_its_bound(void **state) {
    (void)state;
    for (size_t i = 0; i < CHOICES; i++) {
        struct chat_layout *layout = layout_of(choices[i]);
        assert_in_range(check_random(layout, "its control tokens", 100 + i, 3000), 500, 3000);
        chat_layout_destroy(layout);
    }
}

static void test_no_prompt_passes_its_bound_over_other_tokenizers(void **state) {
    (void)state;
    for (size_t i = 0; i < CHOICES; i++) {
        struct chat_layout *layout = layout_of(choices[i]);
        for (size_t j = 0; j < tokenizer_count; j++) {
            struct tokenizer_bound bound;
            carry_over(layout, tokenizers[j].tokenizer);
            if (tokenizer_bound(tokenizers[j].tokenizer, &bound))
                assert_in_range(check_random(layout, tokenizers[j].name, 1000 * i + j, 120), 10, 120);
        }
        chat_layout_destroy(layout);
    }
}

/* ---- what they are worth ------------------------------------------------------------------------------------------- */

static const char english[] = "Water boils at a lower temperature on a mountain, because the air presses less on it "
                              "there. Could you tell me by how many degrees at "
                              "3,000 metres, and how much longer an egg has to cook? Please show the calculation, step "
                              "by step, and name what you take for granted.";

/** The test model's own layout and vocabulary: a token has four to five bytes. */
static void test_bound_of_plain_english_is_not_far_off(void **state) {
    (void)state;
    struct tokenizer *own = NULL;
    struct chat_layout *layout = NULL;
    struct chat_message messages[] = {
        {.role = CHAT_ROLE_USER, .content = bytes_view_string(english)},
        {.role = CHAT_ROLE_ASSISTANT, .content = bytes_view_string(english)},
        {.role = CHAT_ROLE_USER, .content = bytes_view_string("And an egg that floats?")}};
    check_ok(tokenizer_load(checkpoint, &own, &check_error));
    check_ok(chat_layout_load(checkpoint, own, &layout, &check_error));
    for (size_t count = 1; count <= 3; count += 2) {
        struct chat_conversation conversation = {.messages = messages, .message_count = count};
        struct token_list ids = {.max_count = 10000};
        int64_t bytes = 0;
        for (size_t i = 0; i < count; i++) bytes += (int64_t)messages[i].content.length;
        check_ok(chat_layout_render(layout, &conversation, &ids, &check_error));
        int64_t most = most_tokens(layout, (int64_t)count, bytes);
        print_message("%zu messages of %lld bytes: %zu tokens, at most %lld\n", count, (long long)bytes, ids.count,
                      (long long)most);
        assert_in_range(most, ids.count, 6 * ids.count);
        token_list_deinit(&ids);
    }
    chat_layout_destroy(layout);
    tokenizer_destroy(own);
}

/** A message of one letter for each of `roles`. */
static int64_t count_letters(const struct chat_layout *layout, const char *roles) {
    static const char letters[] = {[CHAT_ROLE_SYSTEM] = 's', [CHAT_ROLE_USER] = 'u', [CHAT_ROLE_ASSISTANT] = 'a'};
    struct chat_message messages[MESSAGES_MAX] = {0};
    struct token_list ids = {.max_count = 10000};
    size_t count = strlen(roles);
    for (size_t i = 0; i < count; i++) {
        messages[i].content = bytes_view_string("x");
        while (letters[messages[i].role] != roles[i]) messages[i].role++;
    }
    struct chat_conversation conversation = {.messages = messages, .message_count = count};
    check_ok(chat_layout_render(layout, &conversation, &ids, &check_error));
    int64_t tokens = (int64_t)ids.count;
    token_list_deinit(&ids);
    return tokens;
}

/** What a layout writes beside contents is counted, and but for what these conversations do without no more. Every byte is a token, no name is one;
 *  "prepend-long-name" has a mark before every text. */
static void test_what_layouts_write_is_counted(void **state) {
    (void)state;
    static const struct {
        const char *choice, *tokenizer, *roles;
        int64_t over;
    } cases[] = {
        {"auto", "bytes", "aaaaa", 0},
        {"auto", "prepend-long-name", "aaaaa", 0},
        {"chatml", "bytes", "aaaaa", 0},
        {"llama-3", "bytes", "aaaaa", 0},
        {"llama-3", "prepend-long-name", "aaaaa", 0},
        {"gemma", "bytes", "uaua", 6},       /* the longest role is "system", where a template lets one stand there */
        {"completion", "bytes", "uuu", 2},   /* no blank line behind the last */
        {"mistral-v1", "bytes", "a", 16},    /* no [INST] around an answer */
        {"mistral-v1", "bytes", "uaua", 51}, /* nor a user's message in front */
        {"mistral-v1", "prepend-long-name", "u", 18},
        {"mistral-v3", "bytes", "a", 3},
        {"mistral-v3", "prepend-long-name", "u", 5},
        {"mistral-v7", "bytes", "s", 2},
        {"mistral-v15", "bytes", "u", 22}}; /* "none" needs no escapes */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct chat_layout *layout = layout_of(cases[i].choice);
        size_t at = 0;
        while (strcmp(tokenizers[at].name, cases[i].tokenizer) != 0) at++;
        carry_over(layout, tokenizers[at].tokenizer);
        int64_t count = (int64_t)strlen(cases[i].roles), tokens = count_letters(layout, cases[i].roles);
        int64_t most = most_tokens(layout, count, count);
        if (most - tokens != cases[i].over)
            fail_msg("%s over %s: %lld tokens where %lld are the most", layout->name, cases[i].tokenizer,
                     (long long)tokens, (long long)most);
        chat_layout_destroy(layout);
    }
}

static void test_template_of_a_file_has_no_bound(void **state) {
    (void)state;
    static const char *const files[] = {"llama-3.jinja", "gemma.jinja", "qwen2.5.jinja", "zephyr.jinja"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[512];
        struct chat_prompt_bound bound;
        snprintf(path, sizeof path, "%s/tests/golden/templates/%s", BORA_SOURCE_DIR, files[i]);
        struct chat_layout *layout = layout_of(path);
        if (chat_layout_bound(layout, &bound)) fail_msg("%s has a bound", files[i]);
        chat_layout_destroy(layout);
    }
}

static void test_tokenizer_without_a_bound_gives_none(void **state) {
    (void)state;
    struct chat_layout *layout = layout_of("mistral-v3");
    struct chat_prompt_bound bound;
    size_t without = 0;
    for (size_t i = 0; i < tokenizer_count; i++) {
        carry_over(layout, tokenizers[i].tokenizer);
        without += !chat_layout_bound(layout, &bound);
    }
    assert_int_equal(without, 3);
    chat_layout_destroy(layout);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_prompt_passes_its_bound),
        cmocka_unit_test(test_no_prompt_passes_its_bound_over_other_tokenizers),
        cmocka_unit_test(test_bound_of_plain_english_is_not_far_off),
        cmocka_unit_test(test_what_layouts_write_is_counted),
        cmocka_unit_test(test_template_of_a_file_has_no_bound),
        cmocka_unit_test(test_tokenizer_without_a_bound_gives_none),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
