/* Copyright Bora contributors
 * SPDX-License-Identifier: Apache-2.0 */
/**
 * The named maximum of everything that input can grow. A module's own private constants stay in the module; what a
 * client, a peer or a file can push against stands here, so that one page answers "how big can it get?".
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

enum {
    /* --- requests --- */
    LIMIT_REQUEST_BODY_BYTES_DEFAULT =
        4 * 1024 * 1024, /* HTTP body and gRPC message; a setting may lower or raise it */
    LIMIT_REQUEST_BODY_BYTES_MAX = 64 * 1024 * 1024,
    LIMIT_HEADER_BYTES = 16 * 1024, /* all request headers together */
    LIMIT_JSON_DEPTH = 64,          /* nested arrays and objects in a request */
    LIMIT_PROTO_DEPTH = 64,         /* nested messages in a received protobuf */
    LIMIT_PROTO_ELEMENTS = 200000,  /* fields in one received protobuf */
    LIMIT_MESSAGES = 4096,          /* messages in one conversation */
    LIMIT_CONTENT_PARTS = 1024,     /* parts in one message */
    LIMIT_CONVERSATION_TOKENS =
        16 << 20, /* tokens of a conversation that is counted in full before its oldest turns are dropped */
    LIMIT_STOP_STRINGS = 16,
    LIMIT_STOP_STRING_BYTES = 256,
    LIMIT_CHOICES = 128, /* n; best_of goes to 16 */
    LIMIT_BEAMS = 16,
    LIMIT_LOGIT_BIAS = 1024,
    LIMIT_TOP_LOGPROBS = 20,
    LIMIT_TOOLS = 128,
    LIMIT_MODEL_NAME_BYTES = 128,
    LIMIT_METADATA_BYTES = 16 * 1024,

    /* --- keys --- */
    LIMIT_KEYS_LIST = 1000,
    LIMIT_KEY_MODEL_LIMITS = 64,
    LIMIT_KEY_SCOPES = 64, /* models, or endpoints, of one key */
    LIMIT_ORGANIZATIONS = 10000,
    LIMIT_WORKSPACES = 1000, /* of one organisation */
    LIMIT_KEYS = 100000,     /* of one organisation, revoked ones too */
    LIMIT_PRICES = 256,
    LIMIT_AUDIT_DETAIL_BYTES = 8192, /* of one entry */
    LIMIT_REQUEST_ID_BYTES = 128,    /* as a gateway tells us */
    LIMIT_ADDRESS_BYTES = 128,

    /* --- streams --- */
    LIMIT_STREAM_PENDING_BYTES = 64 * 1024, /* text a slow reader may leave waiting before its sequence is paused */
    LIMIT_ANSWER_BYTES =
        256 * 1024 * 1024, /* text of one answer that waits to be given out: a beam search gives it whole */
    LIMIT_DELTA_BYTES =
        64 * 1024, /* text, and log-probabilities, in one message of a worker: longer events take several */
    LIMIT_LINK_GENERATIONS = 16384, /* of one gateway on one worker at a time; further ones are refused */
    LIMIT_LINK_MESSAGE_BYTES =
        2 * LIMIT_REQUEST_BODY_BYTES_MAX +
        (1 << 20), /* between a gateway and a worker: the largest request, and what goes with it */
    LIMIT_STREAMS_PER_CONNECTION = 4096, /* gRPC calls at once on one connection; further ones wait at the client */

    /* --- model files --- */
    LIMIT_GGUF_TENSORS = 65536,
    LIMIT_GGUF_METADATA = 65536,
    LIMIT_GGUF_STRING_BYTES = 16 * 1024 * 1024,
    LIMIT_GGUF_ARRAY_ELEMENTS = 16 * 1024 * 1024,
    LIMIT_SAFETENSORS_HEADER_BYTES = 100 * 1000 * 1000, /* the format's own */
    LIMIT_SAFETENSORS_TENSORS = 1 << 18,
    LIMIT_SHARDS = 1024,                     /* files of one checkpoint */
    LIMIT_CHECKPOINT_JSON_BYTES = 64 << 20,  /* config.json, params.json, model.safetensors.index.json */
    LIMIT_CHECKPOINT_FILE_BYTES = 512 << 20, /* a file beside the weights */
    LIMIT_EXPERTS = 4096,
    LIMIT_VOCABULARY = 1 << 20,
    LIMIT_MERGES = 4 << 20,
    LIMIT_TOKENIZER_VALUES = 16 << 20,    /* JSON values in one tokenizer file */
    LIMIT_TOKENIZER_TREE_BYTES = 1 << 30, /* its tree in memory, while it is read */
    LIMIT_CONTEXT_TOKENS = 1 << 20,
    LIMIT_LAYERS = 1024,
    LIMIT_MODELS_FILE_BYTES = 1024 * 1024,
    LIMIT_CHAT_TEMPLATE_BYTES = 1024 * 1024,
    LIMIT_MODELS = 256,
    LIMIT_MODEL_ALIASES = 32,

    /* --- processes --- */
    LIMIT_WORKERS = 1024,
    LIMIT_LOG_LINE_BYTES = 4096,
    LIMIT_THREADS = 256,
};

#endif
