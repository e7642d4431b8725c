/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/result.h"

#include "cli/fields.h"
#include "cli/limits.h"
#include "cli/print.h"
#include "cli/terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** The items of `page` behind those of `all`. False when there is no memory. */
static bool append_page(struct arena *arena, const char *items, ProtobufCMessage *all, const ProtobufCMessage *page) {
    const struct field_value before = field_get(all, items), added = field_get(page, items);
    void **list = arena_alloc_array(arena, before.count + added.count + 1, sizeof *list);
    if (list == NULL) {
        print_failure("the list is too long");
        return false;
    }
    if (before.count > 0) memcpy(list, before.items, before.count * sizeof *list);
    if (added.count > 0) memcpy(list + before.count, added.items, added.count * sizeof *list);
    field_set_list(all, items, list, before.count + added.count);
    field_set_flag(all, "has_more", field_get(page, "has_more").flag);
    return true;
}

static size_t page_size(const struct result_list *list, size_t so_far) {
    size_t most = list->most > 0 ? (size_t)list->most : RESULT_ITEMS_MAX;
    return most - so_far < (size_t)list->page ? most - so_far : (size_t)list->page;
}

int result_fetch(struct connection *connection, const struct result_list *list, ProtobufCMessage *request,
                 ProtobufCMessage **out) {
    ProtobufCMessage *all = NULL;
    for (size_t size = page_size(list, 0); size > 0;) {
        ProtobufCMessage *page = NULL;
        field_set_integer(request, "limit", (int64_t)size);
        int result = connection_call(connection, list->method, request, list->reply, &page);
        if (result != GO_ON) return result;
        const struct field_value items = field_get(page, list->items);
        if (all == NULL)
            all = page;
        else if (!append_page(&connection->arena, list->items, all, page))
            return EXIT_FAILED;
        size_t so_far = field_get(all, list->items).count;
        const char *next = list->next != NULL ? field_text(page, list->next) : "";
        if (list->next != NULL) { /* of all pages it is the last one's */
            field_clear(all, list->next);
            field_set_text(all, list->next, next[0] != 0 ? next : NULL);
        }
        bool goes_on = (items.count > 0 || next[0] != 0) && field_get(page, "has_more").flag;
        size = goes_on ? page_size(list, so_far) : 0;
        if (size > 0 && next[0] != 0)
            field_set_text(request, list->cursor, next);
        else if (size > 0 && strcmp(list->cursor, "offset") == 0)
            field_set_integer(request, list->cursor, (int64_t)so_far);
        else if (size > 0)
            field_set_text(request, list->cursor, field_text(items.items[items.count - 1], list->id));
    }
    *out = all;
    return GO_ON;
}

int result_print_list(const struct result_list *list, const ProtobufCMessage *reply, const struct table_column *columns,
                      int count, const char *nothing) {
    const struct field_value items = field_get(reply, list->items);
    if (connection_options.json) return print_json(reply);
    if (connection_options.quiet) {
        for (size_t i = 0; i < items.count; i++) {
            print_line(stdout, field_text(items.items[i], list->id));
            putchar('\n');
        }
    } else if (items.count == 0) {
        terminal_note("%s\n", nothing);
    } else {
        table_print(stdout, columns, count, (ProtobufCMessage *const *)items.items, items.count);
    }
    return EXIT_OK;
}

static int compare_words(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/** Whether `word` is there once only; `words` are sorted. */
static bool is_unique(const char *const *words, size_t count, const char *word) {
    const char *const *found = bsearch(&word, words, count, sizeof *words, compare_words);
    if (found == NULL) return false;
    bool before = found > words && strcmp(found[-1], word) == 0;
    return !before && (found + 1 == words + count || strcmp(found[1], word) != 0);
}

int result_print_words(const struct result_list *list, const ProtobufCMessage *reply) {
    const struct field_value items = field_get(reply, list->items);
    if (connection_options.json) return print_json(reply);
    const char **words = calloc(items.count + 1, sizeof *words);
    if (words == NULL) return print_failure("the list is too long");
    for (size_t i = 0; i < items.count; i++) words[i] = field_text(items.items[i], list->word);
    qsort(words, items.count, sizeof *words, compare_words);
    for (size_t i = 0; i < items.count; i++) {
        char shown[TABLE_CELL_BYTES], about[TABLE_CELL_BYTES];
        const char *word = field_text(items.items[i], list->word);
        print_clean_to(word, shown, sizeof shown);
        bool typed = word[0] != 0 && strcmp(word, shown) == 0 && is_unique(words, items.count, word);
        print_clean_to(typed ? field_text(items.items[i], list->about) : word, about, sizeof about);
        printf("%s\t%s\n", typed ? word : field_text(items.items[i], list->id), about);
    }
    free(words);
    return EXIT_OK;
}

int result_print_one(const ProtobufCMessage *reply, const struct table_column *columns, int count, const char *id) {
    if (connection_options.json) return print_json(reply);
    if (connection_options.quiet) {
        print_line(stdout, field_text(reply, id));
        putchar('\n');
    } else {
        table_print_one(stdout, columns, count, reply);
    }
    return EXIT_OK;
}

void result_print_model_limits(const ProtobufCMessage *reply) {
    const struct field_value models = field_get(reply, "model_limits");
    for (size_t i = 0; i < models.count; i++) {
        const Bora__V1__ModelLimits *model = models.items[i];
        char text[LIMITS_TEXT_BYTES];
        limits_describe(model->limits, text);
        fputs("  of ", stdout);
        print_line(stdout, model->model);
        printf(": %s\n", text);
    }
}

int result_print_done(const ProtobufCMessage *reply, const char *format, ...) {
    enum { SENTENCE_BYTES = 1024 };
    char sentence[SENTENCE_BYTES];
    if (connection_options.json) return print_json(reply);
    if (connection_options.quiet) return EXIT_OK;
    va_list values;
    va_start(values, format);
    vsnprintf(sentence, sizeof sentence, format, values);
    va_end(values);
    print_masked(stdout, sentence);
    return EXIT_OK;
}
