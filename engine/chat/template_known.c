/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* For model files without a chat template: the layout of the family whose control tokens the vocabulary has. */
#include "engine/chat/chat_internal.h"

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

const char *template_known(const struct tokenizer *tokenizer, const char **out_name) {
    static const struct {
        const char *name, *open, *close, *text;
    } families[] = {{"llama-3", "<|start_header_id|>", "<|eot_id|>", llama3},
                    {"gemma", "<start_of_turn>", "<end_of_turn>", gemma},
                    {"chatml", "<|im_start|>", "<|im_end|>", chatml}};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (tokenizer_special(tokenizer, families[i].open) < 0 || tokenizer_special(tokenizer, families[i].close) < 0)
            continue;
        *out_name = families[i].name;
        return families[i].text;
    }
    return NULL;
}
