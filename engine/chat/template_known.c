/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* For model files without a chat template, or with one that somebody does not want: the layout of a family. */
#include "engine/chat/chat_internal.h"

#include <string.h>

static const char llama3[] =
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim "
    "+ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

/* Gemma has no system role: the text stands in front of the first user's. */
static const char gemma[] =
    "{{ bos_token }}{% set head = '' %}{% if messages[0]['role'] == 'system' %}{% set head = messages[0]['content'] + "
    "'\\n\\n' %}"
    "{% set messages = messages[1:] %}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' + (head if "
    "loop.first else '') "
    "+ message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

static const char chatml[] = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + "
                             "message['content'] + '<|im_end|>' + '\\n'}}"
                             "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const char *template_known(const struct tokenizer *tokenizer, const char **name, const char **out_lacks) {
    static const struct {
        const char *name, *controls[2], *text;
    } families[] = {{"llama-3", {"<|start_header_id|>", "<|eot_id|>"}, llama3},
                    {"gemma", {"<start_of_turn>", "<end_of_turn>"}, gemma},
                    {"chatml", {"<|im_start|>", "<|im_end|>"}, chatml}};
    *out_lacks = NULL;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const char *lacks = NULL;
        if (*name != NULL && strcmp(*name, families[i].name) != 0) continue;
        for (int j = 0; j < 2 && lacks == NULL; j++) {
            if (tokenizer_special(tokenizer, families[i].controls[j]) < 0) lacks = families[i].controls[j];
        }
        if (*name != NULL) *out_lacks = lacks;
        if (lacks != NULL) continue;
        *name = families[i].name;
        return families[i].text;
    }
    return NULL;
}
