/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-level BPE. The vocabulary's strings are bytes in GPT-2's disguise (every byte is a printable character); they are
 * turned back into bytes once, at load. A merge is a pair of token ids with a rank and the id it makes.
 */
#include "engine/tokenizer/tokenizer.h"

#include "base/limits.h"
#include "base/text.h"
#include "engine/tokenizer/split.h"
#include "engine/weights/gguf.h"

#include <stdlib.h>
#include <string.h>

enum token_type { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4, TOKEN_UNUSED = 5, TOKEN_BYTE = 6 };

struct token {
    uint32_t piece_offset, piece_length; /* bytes it stands for, in `text` */
    uint32_t name_offset, name_length;   /* as the vocabulary writes it */
    uint8_t type;
    bool end;
};

struct merge {
    int32_t left, right; /* left < 0: an empty slot */
    int32_t rank, result;
};

struct tokenizer {
    enum split_rule split;
    int32_t count;
    struct token *tokens;
    uint8_t *text; /* all pieces and names */
    int32_t *by_piece; /* hash table of ids by their bytes; -1 empty */
    uint32_t piece_mask;
    struct merge *merges; /* hash table by (left, right) */
    uint32_t merge_mask;
    int32_t byte_ids[256];
    int32_t bos, eos;
};

/* ---- lists --------------------------------------------------------------------------------------------------------- */

void token_list_deinit(struct token_list *list) {
    free(list->ids);
    *list = (struct token_list){.max_count = list->max_count};
}

enum status token_list_append(struct token_list *list, int32_t id) {
    if (list->count >= list->max_count) return STATUS_RESOURCE_EXHAUSTED;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity < 64 ? 64 : list->capacity * 2;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (ids == NULL) return STATUS_RESOURCE_EXHAUSTED;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return STATUS_OK;
}

/* ---- hashing ------------------------------------------------------------------------------------------------------- */

static uint32_t hash_bytes(struct bytes_view bytes) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes.length; i++) hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(hash ^ hash >> 32);
}

static uint32_t hash_pair(int32_t left, int32_t right) {
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(key >> 32);
}

static uint32_t table_mask(size_t count) {
    uint32_t size = 16;
    while (size < 2 * count) size *= 2;
    return size - 1;
}

static struct bytes_view piece_of(const struct tokenizer *tokenizer, int32_t id) {
    const struct token *token = &tokenizer->tokens[id];
    return bytes_view_of(tokenizer->text + token->piece_offset, token->piece_length);
}

static int32_t find_piece(const struct tokenizer *tokenizer, struct bytes_view piece) {
    for (uint32_t slot = hash_bytes(piece) & tokenizer->piece_mask;; slot = (slot + 1) & tokenizer->piece_mask) {
        int32_t id = tokenizer->by_piece[slot];
        if (id < 0 || bytes_view_equal(piece_of(tokenizer, id), piece)) return id;
    }
}

static const struct merge *find_merge(const struct tokenizer *tokenizer, int32_t left, int32_t right) {
    for (uint32_t slot = hash_pair(left, right) & tokenizer->merge_mask;; slot = (slot + 1) & tokenizer->merge_mask) {
        const struct merge *merge = &tokenizer->merges[slot];
        if (merge->left < 0) return NULL;
        if (merge->left == left && merge->right == right) return merge;
    }
}

/* ---- loading ------------------------------------------------------------------------------------------------------- */

/** GPT-2's disguise: printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and following. */
static void make_disguise(int16_t byte_of[512]) {
    memset(byte_of, -1, 512 * sizeof *byte_of);
    int next = 256;
    for (int byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        byte_of[printable ? byte : next++] = (int16_t)byte;
    }
}

/** The bytes behind a disguised string into `out` (at least as long as the string); false when a character is no disguise. */
static bool undisguise(const int16_t byte_of[512], struct bytes_view name, uint8_t *out, size_t *out_length) {
    *out_length = 0;
    for (size_t at = 0; at < name.length;) {
        uint32_t code_point;
        bool valid;
        at += text_decode(name.data + at, name.length - at, &code_point, &valid);
        if (!valid || code_point >= 512 || byte_of[code_point] < 0) return false;
        out[(*out_length)++] = (uint8_t)byte_of[code_point];
    }
    return true;
}

static enum status load_tokens(struct tokenizer *tokenizer, const struct gguf *gguf, const struct gguf_array *names, const struct gguf_array *types, struct error *err) {
    int16_t byte_of[512];
    make_disguise(byte_of);
    size_t total = 0;
    for (int64_t i = 0; i < names->count; i++) total += 2 * gguf_array_string(names, i).length;
    if (total > UINT32_MAX) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the vocabulary's strings have %zu bytes", gguf_path(gguf), total);
    tokenizer->count = (int32_t)names->count;
    tokenizer->tokens = calloc((size_t)names->count, sizeof *tokenizer->tokens);
    tokenizer->text = malloc(total + 1);
    if (tokenizer->tokens == NULL || tokenizer->text == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    size_t used = 0;
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct token *token = &tokenizer->tokens[id];
        struct bytes_view name = gguf_array_string(names, id);
        token->type = types->count > 0 ? (uint8_t)gguf_array_i64(types, id) : TOKEN_NORMAL;
        memcpy(tokenizer->text + used, name.data, name.length);
        token->name_offset = (uint32_t)used;
        token->name_length = (uint32_t)name.length;
        used += name.length;
        size_t length = 0;
        bool is_text = token->type != TOKEN_CONTROL && token->type != TOKEN_UNKNOWN && token->type != TOKEN_UNUSED;
        /* User-defined tokens stand in the vocabulary as plain text. */
        if (is_text && !undisguise(byte_of, name, tokenizer->text + used, &length)) {
            memcpy(tokenizer->text + used, name.data, name.length);
            length = name.length;
        }
        token->piece_offset = (uint32_t)used;
        token->piece_length = (uint32_t)length;
        used += length;
    }
    return STATUS_OK;
}

static enum status index_pieces(struct tokenizer *tokenizer, const struct gguf *gguf, struct error *err) {
    tokenizer->piece_mask = table_mask((size_t)tokenizer->count);
    tokenizer->by_piece = malloc(((size_t)tokenizer->piece_mask + 1) * sizeof *tokenizer->by_piece);
    if (tokenizer->by_piece == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    memset(tokenizer->by_piece, -1, ((size_t)tokenizer->piece_mask + 1) * sizeof *tokenizer->by_piece);
    for (int32_t id = 0; id < tokenizer->count; id++) {
        struct bytes_view piece = piece_of(tokenizer, id);
        if (piece.length == 0) continue;
        uint32_t slot = hash_bytes(piece) & tokenizer->piece_mask;
        while (tokenizer->by_piece[slot] >= 0) slot = (slot + 1) & tokenizer->piece_mask;
        tokenizer->by_piece[slot] = id;
    }
    for (int byte = 0; byte < 256; byte++) {
        uint8_t one = (uint8_t)byte;
        tokenizer->byte_ids[byte] = find_piece(tokenizer, bytes_view_of(&one, 1));
        if (tokenizer->byte_ids[byte] < 0) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: the vocabulary has no token for the byte 0x%02x", gguf_path(gguf), byte);
    }
    return STATUS_OK;
}

static enum status load_merge(struct tokenizer *tokenizer, const struct gguf *gguf, const int16_t byte_of[512], struct bytes_view text, int32_t rank, uint8_t *scratch, struct error *err) {
    /* "left right": a piece may itself hold no blank, which the disguise writes otherwise. */
    const uint8_t *blank = text.length > 1 ? memchr(text.data + 1, ' ', text.length - 1) : NULL;
    size_t left_length = 0, right_length = 0;
    int32_t left = -1, right = -1, result = -1;
    if (blank != NULL) {
        struct bytes_view left_name = bytes_view_of(text.data, (size_t)(blank - text.data)), right_name = bytes_view_of(blank + 1, text.length - left_name.length - 1);
        if (undisguise(byte_of, left_name, scratch, &left_length) && undisguise(byte_of, right_name, scratch + left_length, &right_length)) {
            left = find_piece(tokenizer, bytes_view_of(scratch, left_length));
            right = find_piece(tokenizer, bytes_view_of(scratch + left_length, right_length));
            result = find_piece(tokenizer, bytes_view_of(scratch, left_length + right_length));
        }
    }
    if (left < 0 || right < 0 || result < 0) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: merge %d joins pieces that the vocabulary does not have", gguf_path(gguf), rank);
    uint32_t slot = hash_pair(left, right) & tokenizer->merge_mask;
    for (; tokenizer->merges[slot].left >= 0; slot = (slot + 1) & tokenizer->merge_mask) {
        if (tokenizer->merges[slot].left == left && tokenizer->merges[slot].right == right) return STATUS_OK; /* the earlier rank stands */
    }
    tokenizer->merges[slot] = (struct merge){left, right, rank, result};
    return STATUS_OK;
}

static enum status load_merges(struct tokenizer *tokenizer, const struct gguf *gguf, const struct gguf_array *merges, struct error *err) {
    int16_t byte_of[512];
    make_disguise(byte_of);
    tokenizer->merge_mask = table_mask((size_t)merges->count);
    tokenizer->merges = malloc(((size_t)tokenizer->merge_mask + 1) * sizeof *tokenizer->merges);
    size_t longest = 0;
    for (int64_t i = 0; i < merges->count; i++) {
        size_t length = gguf_array_string(merges, i).length;
        if (length > longest) longest = length;
    }
    uint8_t *scratch = malloc(longest + 1);
    enum status status = tokenizer->merges == NULL || scratch == NULL ? error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory") : STATUS_OK;
    for (uint32_t i = 0; status == STATUS_OK && i <= tokenizer->merge_mask; i++) tokenizer->merges[i].left = -1;
    for (int64_t i = 0; status == STATUS_OK && i < merges->count; i++) status = load_merge(tokenizer, gguf, byte_of, gguf_array_string(merges, i), (int32_t)i, scratch, err);
    free(scratch);
    return status;
}

/** A token id from the metadata; -1 when absent. */
static enum status load_special(const struct tokenizer *tokenizer, const struct gguf *gguf, const char *key, int32_t *out, struct error *err) {
    uint64_t id;
    *out = -1;
    if (!gguf_has(gguf, key)) return STATUS_OK;
    if (!gguf_u64(gguf, key, &id) || id >= (uint64_t)tokenizer->count) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is not a token of the vocabulary", gguf_path(gguf), key);
    *out = (int32_t)id;
    return STATUS_OK;
}

static enum status load_specials(struct tokenizer *tokenizer, const struct gguf *gguf, struct error *err) {
    static const char *const end_keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    static const char *const end_names[] = {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>"};
    TRY(load_special(tokenizer, gguf, "tokenizer.ggml.bos_token_id", &tokenizer->bos, err));
    TRY(load_special(tokenizer, gguf, "tokenizer.ggml.eos_token_id", &tokenizer->eos, err));
    for (size_t i = 0; i < sizeof end_keys / sizeof end_keys[0]; i++) {
        int32_t id;
        TRY(load_special(tokenizer, gguf, end_keys[i], &id, err));
        if (id >= 0) tokenizer->tokens[id].end = true;
    }
    for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
        int32_t id = tokenizer_special(tokenizer, end_names[i]);
        if (id >= 0) tokenizer->tokens[id].end = true;
    }
    return STATUS_OK;
}

static enum status choose_split(struct tokenizer *tokenizer, const struct gguf *gguf, struct error *err) {
    struct bytes_view model = {0}, pre = {0};
    if (!gguf_string(gguf, "tokenizer.ggml.model", &model)) return error_set(err, STATUS_INVALID_ARGUMENT, "%s holds no tokenizer", gguf_path(gguf));
    gguf_string(gguf, "tokenizer.ggml.pre", &pre);
    if (!bytes_view_equal_string(model, "gpt2") || !bytes_view_equal_string(pre, "smollm")) {
        return error_set(err, STATUS_UNIMPLEMENTED, "%s: the tokenizer '%.*s' with pre-tokeniser '%.*s' is not supported yet (there is gpt2 with smollm)", gguf_path(gguf),
                         (int)(model.length < 32 ? model.length : 32), (const char *)model.data, (int)(pre.length < 32 ? pre.length : 32), (const char *)pre.data);
    }
    tokenizer->split = SPLIT_SMOLLM;
    return STATUS_OK;
}

static enum status load(struct tokenizer *tokenizer, const struct gguf *gguf, struct error *err) {
    struct gguf_array names = {0}, types = {0}, merges = {0};
    TRY(choose_split(tokenizer, gguf, err));
    if (!gguf_array(gguf, "tokenizer.ggml.tokens", &names) || names.element != GGUF_STRING || names.count < 256 || names.count > LIMIT_VOCABULARY) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tokenizer.ggml.tokens is not a list of 256..%d strings", gguf_path(gguf), LIMIT_VOCABULARY);
    }
    if (gguf_array(gguf, "tokenizer.ggml.token_type", &types) && (types.count != names.count || types.element == GGUF_STRING)) {
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tokenizer.ggml.token_type does not fit the %lld tokens", gguf_path(gguf), (long long)names.count);
    }
    if (!gguf_array(gguf, "tokenizer.ggml.merges", &merges) || merges.element != GGUF_STRING) return error_set(err, STATUS_INVALID_ARGUMENT, "%s: tokenizer.ggml.merges is not a list of strings", gguf_path(gguf));
    TRY(load_tokens(tokenizer, gguf, &names, &types, err));
    TRY(index_pieces(tokenizer, gguf, err));
    TRY(load_merges(tokenizer, gguf, &merges, err));
    return load_specials(tokenizer, gguf, err);
}

enum status tokenizer_load_gguf(const struct gguf *gguf, struct tokenizer **out, struct error *err) {
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer == NULL) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory");
    enum status status = load(tokenizer, gguf, err);
    if (status != STATUS_OK) tokenizer_destroy(tokenizer);
    else *out = tokenizer;
    return status;
}

void tokenizer_destroy(struct tokenizer *tokenizer) {
    if (tokenizer == NULL) return;
    free(tokenizer->tokens);
    free(tokenizer->text);
    free(tokenizer->by_piece);
    free(tokenizer->merges);
    free(tokenizer);
}

/* ---- encoding ------------------------------------------------------------------------------------------------------ */

/** A symbol of the piece being merged, in a list by index. */
struct symbol {
    int32_t id, previous, next; /* id < 0: merged away */
};

/** A possible merge at `position`; stale when a side has changed since. */
struct candidate {
    int32_t rank, position, left, right, result;
};

struct merging {
    const struct tokenizer *tokenizer;
    struct symbol *symbols;
    struct candidate *heap; /* least (rank, position) first */
    size_t heap_count;
};

static bool comes_before(const struct candidate *a, const struct candidate *b) { return a->rank != b->rank ? a->rank < b->rank : a->position < b->position; }

static void heap_push(struct merging *merging, struct candidate candidate) {
    size_t at = merging->heap_count++;
    while (at > 0 && comes_before(&candidate, &merging->heap[(at - 1) / 2])) {
        merging->heap[at] = merging->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    merging->heap[at] = candidate;
}

static struct candidate heap_pop(struct merging *merging) {
    struct candidate top = merging->heap[0], last = merging->heap[--merging->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < merging->heap_count; at = child) {
        if (child + 1 < merging->heap_count && comes_before(&merging->heap[child + 1], &merging->heap[child])) child++;
        if (!comes_before(&merging->heap[child], &last)) break;
        merging->heap[at] = merging->heap[child];
    }
    merging->heap[at] = last;
    return top;
}

static void consider(struct merging *merging, int32_t position) {
    const struct symbol *left = &merging->symbols[position];
    if (left->next < 0) return;
    const struct merge *merge = find_merge(merging->tokenizer, left->id, merging->symbols[left->next].id);
    if (merge != NULL) heap_push(merging, (struct candidate){merge->rank, position, merge->left, merge->right, merge->result});
}

/** Merge the piece's bytes by rank, leftmost first. Each merge removes a symbol and adds at most two candidates: the heap holds under 3n. */
static void merge_piece(struct merging *merging, struct bytes_view piece) {
    int32_t count = (int32_t)piece.length;
    for (int32_t i = 0; i < count; i++) {
        merging->symbols[i] = (struct symbol){merging->tokenizer->byte_ids[piece.data[i]], i - 1, i + 1 < count ? i + 1 : -1};
    }
    merging->heap_count = 0;
    for (int32_t i = 0; i < count; i++) consider(merging, i);
    while (merging->heap_count > 0) {
        struct candidate candidate = heap_pop(merging);
        struct symbol *left = &merging->symbols[candidate.position];
        if (left->id != candidate.left || left->next < 0 || merging->symbols[left->next].id != candidate.right) continue;
        struct symbol *right = &merging->symbols[left->next];
        left->id = candidate.result;
        right->id = -1;
        left->next = right->next;
        if (right->next >= 0) merging->symbols[right->next].previous = candidate.position;
        consider(merging, candidate.position);
        if (left->previous >= 0) consider(merging, left->previous);
    }
}

enum { PIECE_BYTES_SMALL = 256, PIECE_BYTES_MAX = 1 << 28 };

static enum status encode_piece(const struct tokenizer *tokenizer, struct bytes_view piece, struct token_list *out, struct error *err) {
    if (piece.length == 1) return token_list_append(out, tokenizer->byte_ids[piece.data[0]]);
    struct symbol small_symbols[PIECE_BYTES_SMALL];
    struct candidate small_heap[3 * PIECE_BYTES_SMALL];
    struct merging merging = {.tokenizer = tokenizer, .symbols = small_symbols, .heap = small_heap};
    bool large = piece.length > PIECE_BYTES_SMALL;
    if (piece.length > PIECE_BYTES_MAX) return error_set(err, STATUS_RESOURCE_EXHAUSTED, "a word of %zu bytes", piece.length);
    if (large) {
        merging.symbols = malloc(piece.length * sizeof *merging.symbols);
        merging.heap = malloc(3 * piece.length * sizeof *merging.heap);
    }
    enum status status = STATUS_OK;
    if (merging.symbols == NULL || merging.heap == NULL) {
        status = error_set(err, STATUS_RESOURCE_EXHAUSTED, "out of memory for a word of %zu bytes", piece.length);
    } else {
        merge_piece(&merging, piece);
        for (int32_t i = 0; i >= 0 && status == STATUS_OK; i = merging.symbols[i].next) status = token_list_append(out, merging.symbols[i].id);
    }
    if (large) {
        free(merging.symbols);
        free(merging.heap);
    }
    return status;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, struct bytes_view text, struct token_list *out, struct error *err) {
    while (text.length > 0) {
        size_t length = split_next(tokenizer->split, text);
        enum status status = encode_piece(tokenizer, bytes_view_of(text.data, length), out, err);
        if (status != STATUS_OK) return error_set(err, status, "the text has more than %zu tokens", out->max_count);
        text.data += length;
        text.length -= length;
    }
    return STATUS_OK;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

static bool in_vocabulary(const struct tokenizer *tokenizer, int32_t id) { return id >= 0 && id < tokenizer->count; }

int32_t tokenizer_vocabulary(const struct tokenizer *tokenizer) { return tokenizer->count; }
int32_t tokenizer_bos(const struct tokenizer *tokenizer) { return tokenizer->bos; }
int32_t tokenizer_eos(const struct tokenizer *tokenizer) { return tokenizer->eos; }
bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id) { return in_vocabulary(tokenizer, id) && tokenizer->tokens[id].end; }
bool tokenizer_is_control(const struct tokenizer *tokenizer, int32_t id) { return in_vocabulary(tokenizer, id) && tokenizer->tokens[id].type == TOKEN_CONTROL; }

struct bytes_view tokenizer_piece(const struct tokenizer *tokenizer, int32_t id) { return in_vocabulary(tokenizer, id) ? piece_of(tokenizer, id) : (struct bytes_view){0}; }

struct bytes_view tokenizer_name(const struct tokenizer *tokenizer, int32_t id) {
    if (!in_vocabulary(tokenizer, id)) return (struct bytes_view){0};
    return bytes_view_of(tokenizer->text + tokenizer->tokens[id].name_offset, tokenizer->tokens[id].name_length);
}

int32_t tokenizer_special(const struct tokenizer *tokenizer, const char *name) {
    for (int32_t id = 0; id < tokenizer->count; id++) {
        if (tokenizer->tokens[id].type == TOKEN_CONTROL && bytes_view_equal_string(tokenizer_name(tokenizer, id), name)) return id;
    }
    return -1;
}
