/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/* A conversation as a bora.v1.ChatCompletionRequest. The message's structs live in an arena until it is packed; its texts are lent. */
#include "base/limits.h"
#include "clients/c/client_internal.h"
#include "rpc/transcode.h"

#include <string.h>

enum { STRUCTS_BYTES = 64 << 20 };

/** A message of the generated type in `memory`, initialised; NULL without memory. */
#define NEW(memory, type, initial)                        \
    ({                                                    \
        type *new_ = arena_alloc((memory), sizeof(type)); \
        if (new_ != NULL) *new_ = (type)initial;          \
        new_;                                             \
    })

static Bora__V1__Content *new_content(struct arena *memory, const char *text) {
    Bora__V1__Content *content = NEW(memory, Bora__V1__Content, BORA__V1__CONTENT__INIT);
    if (content == NULL) return NULL;
    content->kind_case = BORA__V1__CONTENT__KIND_TEXT;
    content->text = (char *)text;
    return content;
}

static Bora__V1__ToolCall *new_call(struct arena *memory, const struct bora_tool_call *from) {
    Bora__V1__ToolCall *call = NEW(memory, Bora__V1__ToolCall, BORA__V1__TOOL_CALL__INIT);
    Bora__V1__FunctionCall *function = NEW(memory, Bora__V1__FunctionCall, BORA__V1__FUNCTION_CALL__INIT);
    Bora__V1__FunctionArguments *arguments =
        NEW(memory, Bora__V1__FunctionArguments, BORA__V1__FUNCTION_ARGUMENTS__INIT);
    if (call == NULL || function == NULL || arguments == NULL) return NULL;
    arguments->kind_case = BORA__V1__FUNCTION_ARGUMENTS__KIND_TEXT;
    arguments->text = (char *)(from->arguments != NULL ? from->arguments : "");
    function->name = (char *)(from->name != NULL ? from->name : "");
    function->arguments = arguments;
    call->function = function;
    if (from->id != NULL) {
        call->_id_case = BORA__V1__TOOL_CALL___ID_ID;
        call->id = (char *)from->id;
    }
    return call;
}

static bool fill_assistant(struct arena *memory, const struct bora_message *from, Bora__V1__ChatMessage *out) {
    Bora__V1__AssistantMessage *message = NEW(memory, Bora__V1__AssistantMessage, BORA__V1__ASSISTANT_MESSAGE__INIT);
    if (message == NULL || (message->content = new_content(memory, from->text)) == NULL) return false;
    message->tool_calls = arena_alloc_array(memory, from->call_count, sizeof *message->tool_calls);
    if (message->tool_calls == NULL) return false;
    for (; message->n_tool_calls < from->call_count; message->n_tool_calls++) {
        Bora__V1__ToolCall *call = new_call(memory, &from->calls[message->n_tool_calls]);
        if (call == NULL) return false;
        message->tool_calls[message->n_tool_calls] = call;
    }
    out->role_case = BORA__V1__CHAT_MESSAGE__ROLE_ASSISTANT;
    out->assistant = message;
    return true;
}

static bool fill_tool(struct arena *memory, const struct bora_message *from, Bora__V1__ChatMessage *out) {
    Bora__V1__ToolMessage *message = NEW(memory, Bora__V1__ToolMessage, BORA__V1__TOOL_MESSAGE__INIT);
    if (message == NULL || (message->content = new_content(memory, from->text)) == NULL) return false;
    if (from->call_id != NULL) {
        message->_tool_call_id_case = BORA__V1__TOOL_MESSAGE___TOOL_CALL_ID_TOOL_CALL_ID;
        message->tool_call_id = (char *)from->call_id;
    }
    if (from->tool_name != NULL) {
        message->_name_case = BORA__V1__TOOL_MESSAGE___NAME_NAME;
        message->name = (char *)from->tool_name;
    }
    out->role_case = BORA__V1__CHAT_MESSAGE__ROLE_TOOL;
    out->tool = message;
    return true;
}

static Bora__V1__ChatMessage *new_message(struct arena *memory, const struct bora_message *from) {
    Bora__V1__ChatMessage *message = NEW(memory, Bora__V1__ChatMessage, BORA__V1__CHAT_MESSAGE__INIT);
    if (message == NULL) return NULL;
    if (from->role == BORA_ROLE_ASSISTANT) return fill_assistant(memory, from, message) ? message : NULL;
    if (from->role == BORA_ROLE_TOOL) return fill_tool(memory, from, message) ? message : NULL;
    Bora__V1__Content *content = new_content(memory, from->text);
    if (content == NULL) return NULL;
    if (from->role == BORA_ROLE_SYSTEM) {
        message->role_case = BORA__V1__CHAT_MESSAGE__ROLE_SYSTEM;
        message->system = NEW(memory, Bora__V1__SystemMessage, BORA__V1__SYSTEM_MESSAGE__INIT);
        if (message->system == NULL) return NULL;
        message->system->content = content;
    } else {
        message->role_case = BORA__V1__CHAT_MESSAGE__ROLE_USER;
        message->user = NEW(memory, Bora__V1__UserMessage, BORA__V1__USER_MESSAGE__INIT);
        if (message->user == NULL) return NULL;
        message->user->content = content;
    }
    return message;
}

static Bora__V1__Tool *new_tool(struct arena *memory, const struct bora_tool *from) {
    Bora__V1__Tool *tool = NEW(memory, Bora__V1__Tool, BORA__V1__TOOL__INIT);
    Bora__V1__FunctionDefinition *function =
        NEW(memory, Bora__V1__FunctionDefinition, BORA__V1__FUNCTION_DEFINITION__INIT);
    if (tool == NULL || function == NULL) return NULL;
    function->name = (char *)from->name;
    if (from->description != NULL) {
        function->_description_case = BORA__V1__FUNCTION_DEFINITION___DESCRIPTION_DESCRIPTION;
        function->description = (char *)from->description;
    }
    function->_parameters_case = BORA__V1__FUNCTION_DEFINITION___PARAMETERS_PARAMETERS;
    function->parameters = (char *)from->parameters;
    tool->_type_case = BORA__V1__TOOL___TYPE_TYPE;
    tool->type = (char *)"function";
    tool->function = function;
    return tool;
}

static bool fill_tools(struct arena *memory, const struct request_tools *from, Bora__V1__ChatCompletionRequest *out) {
    out->n_tools = 0;
    out->tools = arena_alloc_array(memory, from->tools->count, sizeof *out->tools);
    if (out->tools == NULL) return false;
    for (; out->n_tools < from->tools->count; out->n_tools++) {
        out->tools[out->n_tools] = new_tool(memory, &from->tools->items[out->n_tools]);
        if (out->tools[out->n_tools] == NULL) return false;
    }
    if (from->choice == NULL && from->name == NULL) return true;
    Bora__V1__ToolChoice *choice = NEW(memory, Bora__V1__ToolChoice, BORA__V1__TOOL_CHOICE__INIT);
    Bora__V1__NamedToolChoice *named = NEW(memory, Bora__V1__NamedToolChoice, BORA__V1__NAMED_TOOL_CHOICE__INIT);
    Bora__V1__FunctionName *function = NEW(memory, Bora__V1__FunctionName, BORA__V1__FUNCTION_NAME__INIT);
    if (choice == NULL || named == NULL || function == NULL) return false;
    if (from->name != NULL) {
        function->name = (char *)from->name;
        named->_type_case = BORA__V1__NAMED_TOOL_CHOICE___TYPE_TYPE;
        named->type = (char *)"function";
        named->function = function;
        choice->kind_case = BORA__V1__TOOL_CHOICE__KIND_NAMED;
        choice->named = named;
    } else {
        choice->kind_case = BORA__V1__TOOL_CHOICE__KIND_MODE;
        choice->mode = (char *)from->choice;
    }
    out->tool_choice = choice;
    return true;
}

static bool fill_format(struct arena *memory, const struct bora_format *from, Bora__V1__ChatCompletionRequest *out) {
    static const char *const types[] = {[BORA_FORMAT_JSON_OBJECT] = "json_object",
                                        [BORA_FORMAT_JSON_SCHEMA] = "json_schema",
                                        [BORA_FORMAT_REGEX] = "regex",
                                        [BORA_FORMAT_GBNF] = "grammar",
                                        [BORA_FORMAT_LARK] = "grammar"};
    if (from->kind == BORA_FORMAT_ANY) return true;
    Bora__V1__ResponseFormat *format = NEW(memory, Bora__V1__ResponseFormat, BORA__V1__RESPONSE_FORMAT__INIT);
    Bora__V1__JsonSchemaFormat *schema = NEW(memory, Bora__V1__JsonSchemaFormat, BORA__V1__JSON_SCHEMA_FORMAT__INIT);
    if (format == NULL || schema == NULL) return false;
    char *text = (char *)(from->text != NULL ? from->text : "");
    format->_type_case = BORA__V1__RESPONSE_FORMAT___TYPE_TYPE;
    format->type = (char *)types[from->kind];
    if (from->kind == BORA_FORMAT_JSON_SCHEMA) {
        schema->name = (char *)"answer";
        schema->_schema_case = BORA__V1__JSON_SCHEMA_FORMAT___SCHEMA_SCHEMA;
        schema->schema = text;
        format->json_schema = schema;
    } else if (from->kind == BORA_FORMAT_REGEX) {
        format->_regex_case = BORA__V1__RESPONSE_FORMAT___REGEX_REGEX;
        format->regex = text;
    } else if (from->kind != BORA_FORMAT_JSON_OBJECT) {
        format->_grammar_case = BORA__V1__RESPONSE_FORMAT___GRAMMAR_GRAMMAR;
        format->grammar = text;
        format->_dialect_case = BORA__V1__RESPONSE_FORMAT___DIALECT_DIALECT;
        format->dialect = (char *)(from->kind == BORA_FORMAT_LARK ? "lark" : "gbnf");
    }
    out->response_format = format;
    return true;
}

static bool fill_request(struct arena *memory, const struct bora_conversation *conversation,
                         const struct bora_chat_options *options, Bora__V1__ChatCompletionRequest *out) {
    size_t length = bora_conversation_length(conversation);
    out->n_messages = 0;
    out->messages = arena_alloc_array(memory, length, sizeof *out->messages);
    if (out->messages == NULL) return false;
    for (; out->n_messages < length; out->n_messages++) {
        Bora__V1__ChatMessage *message = new_message(memory, bora_conversation_at(conversation, out->n_messages));
        if (message == NULL) return false;
        out->messages[out->n_messages] = message;
    }
    if (options->max_tokens > 0) {
        out->_max_tokens_case = BORA__V1__CHAT_COMPLETION_REQUEST___MAX_TOKENS_MAX_TOKENS;
        out->max_tokens = options->max_tokens;
    }
    if (options->temperature != NULL) {
        out->_temperature_case = BORA__V1__CHAT_COMPLETION_REQUEST___TEMPERATURE_TEMPERATURE;
        out->temperature = *options->temperature;
    }
    return fill_format(memory, &options->format, out);
}

enum status request_pack(const struct bora_client *client, const struct bora_conversation *conversation,
                         const struct bora_chat_options *options, const struct request_tools *tools, struct bytes *out,
                         struct bora_error *err) {
    Bora__V1__ChatCompletionRequest request = BORA__V1__CHAT_COMPLETION_REQUEST__INIT;
    if (options->settings != NULL) request = *options->settings;
    request.model = options->model != NULL ? (char *)options->model : client->model;
    if (request.model == NULL)
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "no model: give one to the call or to the client");
    if ((unsigned)options->format.kind > BORA_FORMAT_LARK)
        return bora_error_set(err, STATUS_INVALID_ARGUMENT, "format.kind is none of enum bora_format_kind");
    struct arena memory;
    arena_init(&memory, STRUCTS_BYTES);
    bool whole = fill_request(&memory, conversation, options, &request);
    if (whole && tools != NULL && tools->tools != NULL && tools->tools->count > 0)
        whole = fill_tools(&memory, tools, &request);
    enum status status = STATUS_RESOURCE_EXHAUSTED;
    if (whole) status = protobuf_pack(&request.base, out);
    arena_deinit(&memory);
    if (status != STATUS_OK) return bora_error_set(err, status, "the conversation is too long for one request");
    return STATUS_OK;
}
