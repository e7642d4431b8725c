#!/usr/bin/env python3
# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Write a GGUF model of the Llama family with random weights: for measuring speed at a size for which no real weights are at hand.

    tools/make_random_model.py --tokenizer-from SmolLM2.gguf --type Q4_1 big.gguf        1.1B parameters (TinyLlama's shape)
    tools/make_random_model.py ... --layers 2 --width 256 --heads 4 --kv-heads 2 --feed-forward 512 tiny.gguf

The vocabulary, its merges and the chat template are copied from --tokenizer-from, so that whatever reads that file reads this one; the
matrices get as many rows as it has tokens. Weights have a mean near 0 and a standard deviation near 0.02, so that activations stay
finite; what the model says is noise. The same arguments and seed give the same bytes. Python's standard library is enough.

Format: ggml/docs/gguf.md; block layouts: ggml-common.h.
"""
import argparse
import os
import random
import struct
import sys

ALIGNMENT = 32
PIECE_BYTES = 16 << 20
SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # by GGUF value type
U32, F32, STRING, ARRAY = 4, 6, 8, 9
SIGMA = 0.02

# name: (ggml type, weights in a block, bytes in a block, {offset: f16 value}); all other bytes of a block are random, and the values
# make a mean of 0 and a deviation of SIGMA of it: of n-bit numbers it is (2^n)/sqrt(12), of products with random scales a bit more.
BLOCKS = {
    "Q4_0": (2, 32, 18, {0: SIGMA / 4.6}),
    "Q4_1": (3, 32, 20, {0: SIGMA / 4.6, 2: -7.5 * SIGMA / 4.6}),
    "Q5_0": (6, 32, 22, {0: SIGMA / 9.2}),
    "Q5_1": (7, 32, 24, {0: SIGMA / 9.2, 2: -15.5 * SIGMA / 9.2}),
    "Q8_0": (8, 32, 34, {0: SIGMA / 74}),
    "Q4_K": (12, 256, 144, {0: SIGMA / 255, 2: 7.5 * SIGMA / 255}),
    "Q5_K": (13, 256, 176, {0: SIGMA / 521, 2: 15.5 * SIGMA / 521}),
    "Q6_K": (14, 256, 210, {208: SIGMA / 1369}),
}
# Floats: (ggml type, bytes, bits of the highest byte that stay random, its other bits): magnitudes between 2^-7 and 2^-5.
FLOATS = {"F32": (0, 4, 0x80, 0x3C), "F16": (1, 2, 0x83, 0x24), "BF16": (30, 2, 0x80, 0x3C)}


# ---- reading the tokenizer ---------------------------------------------------------------------------------------------


def read_exactly(file, count):
    data = file.read(count)
    if len(data) != count:
        raise ValueError("the file ends too early")
    return data


def read_u64(file):
    return struct.unpack("<Q", read_exactly(file, 8))[0]


def skip_value(file, kind):
    """Go past one value; the number of elements when it is an array."""
    if kind == STRING:
        read_exactly(file, read_u64(file))
    elif kind == ARRAY:
        element, count = struct.unpack("<IQ", read_exactly(file, 12))
        if element == STRING:
            for _ in range(count):
                read_exactly(file, read_u64(file))
        else:
            read_exactly(file, count * SCALAR_BYTES[element])
        return count
    else:
        read_exactly(file, SCALAR_BYTES[kind])
    return None


def read_tokenizer(path):
    """The entries `tokenizer.*` of a GGUF file as they stand there, how many they are, and the size of the vocabulary."""
    entries, vocabulary = [], 0
    with open(path, "rb") as file:
        if read_exactly(file, 4) != b"GGUF" or struct.unpack("<I", read_exactly(file, 4))[0] not in (2, 3):
            raise ValueError("not a GGUF file of version 2 or 3")
        read_u64(file)
        for _ in range(read_u64(file)):
            begin = file.tell()
            key = read_exactly(file, read_u64(file)).decode()
            count = skip_value(file, struct.unpack("<I", read_exactly(file, 4))[0])
            if key.startswith("tokenizer."):
                end = file.tell()
                file.seek(begin)
                entries.append(read_exactly(file, end - begin))
            if key == "tokenizer.ggml.tokens":
                vocabulary = count
    if not vocabulary:
        raise ValueError("no tokenizer in it")
    return entries, vocabulary


# ---- writing -----------------------------------------------------------------------------------------------------------


def text_entry(key, value):
    return string(key) + struct.pack("<I", STRING) + string(value)


def u32_entry(key, value):
    return string(key) + struct.pack("<II", U32, value)


def f32_entry(key, value):
    return string(key) + struct.pack("<If", F32, value)


def string(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def tensor_bytes(kind, dimensions):
    weights = 1
    for size in dimensions:
        weights *= size
    if kind in FLOATS:
        return weights * FLOATS[kind][1]
    _, block, block_bytes, _ = BLOCKS[kind]
    if dimensions[0] % block:
        raise ValueError(f"rows of {dimensions[0]} weights are no multiple of {kind}'s blocks of {block}")
    return weights // block * block_bytes


def random_piece(source, kind, size):
    """`size` bytes of whole blocks."""
    data = bytearray(source.randbytes(size))
    if kind in FLOATS:
        _, width, kept, fixed = FLOATS[kind]
        data[width - 1 :: width] = data[width - 1 :: width].translate(bytes(b & kept | fixed for b in range(256)))
        return data
    _, _, block_bytes, values = BLOCKS[kind]
    for offset, value in values.items():
        low, high = struct.pack("<e", value)
        data[offset::block_bytes] = bytes([low]) * (size // block_bytes)
        data[offset + 1 :: block_bytes] = bytes([high]) * (size // block_bytes)
    return data


def layout(options, vocabulary):
    """[(name, type, dimensions)]; F32 vectors are norms."""
    kind, D, F = options.type, options.width, options.feed_forward
    key = D // options.heads * options.kv_heads
    tensors = [("token_embd.weight", kind, (D, vocabulary)), ("output_norm.weight", "ones", (D,)), ("output.weight", options.output_type or kind, (D, vocabulary))]
    for i in range(options.layers):
        tensors += [(f"blk.{i}.attn_norm.weight", "ones", (D,)), (f"blk.{i}.attn_q.weight", kind, (D, D)), (f"blk.{i}.attn_k.weight", kind, (D, key)), (f"blk.{i}.attn_v.weight", kind, (D, key)),
                    (f"blk.{i}.attn_output.weight", kind, (D, D)), (f"blk.{i}.ffn_norm.weight", "ones", (D,)), (f"blk.{i}.ffn_gate.weight", kind, (D, F)), (f"blk.{i}.ffn_up.weight", kind, (D, F)),
                    (f"blk.{i}.ffn_down.weight", kind, (F, D))]
    return tensors


def header(options, tensors, entries):
    head_dim = options.width // options.heads
    mine = [text_entry("general.architecture", "llama"), text_entry("general.name", f"random {options.layers}x{options.width} {options.type}"),
            u32_entry("llama.block_count", options.layers), u32_entry("llama.context_length", options.context), u32_entry("llama.embedding_length", options.width),
            u32_entry("llama.feed_forward_length", options.feed_forward), u32_entry("llama.attention.head_count", options.heads), u32_entry("llama.attention.head_count_kv", options.kv_heads),
            u32_entry("llama.rope.dimension_count", head_dim), f32_entry("llama.rope.freq_base", 10000.0), f32_entry("llama.attention.layer_norm_rms_epsilon", 1e-5), u32_entry("general.alignment", ALIGNMENT)]
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(mine) + len(entries)) + b"".join(mine) + b"".join(entries)
    offset = 0
    for name, kind, dimensions in tensors:
        real = "F32" if kind == "ones" else kind
        number = FLOATS[real][0] if real in FLOATS else BLOCKS[real][0]
        out += string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, number, offset)
        offset += -(-tensor_bytes(real, dimensions) // ALIGNMENT) * ALIGNMENT
    return out + bytes(-len(out) % ALIGNMENT)


def write_tensor(file, source, kind, dimensions):
    if kind == "ones":
        data = struct.pack("<f", 1.0) * dimensions[0]
        file.write(data + bytes(-len(data) % ALIGNMENT))
        return
    total = tensor_bytes(kind, dimensions)
    block = FLOATS[kind][1] if kind in FLOATS else BLOCKS[kind][2]
    piece, left = PIECE_BYTES // block * block, total
    while left:
        file.write(random_piece(source, kind, min(left, piece)))
        left -= min(left, piece)
    file.write(bytes(-total % ALIGNMENT))


def write_model(options, path, progress=False):
    entries, vocabulary = read_tokenizer(options.tokenizer_from)
    tensors = layout(options, vocabulary)
    source = random.Random(options.seed)
    with open(f"{path}.part", "wb") as file:
        file.write(header(options, tensors, entries))
        for done, (_, kind, dimensions) in enumerate(tensors, 1):
            write_tensor(file, source, kind, dimensions)
            if progress:
                print(f"\r    {done} of {len(tensors)} tensors, {file.tell() >> 20} MiB", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    os.replace(f"{path}.part", path)


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("file", help="the model to write")
    parser.add_argument("--tokenizer-from", required=True, metavar="FILE", help="GGUF file whose tokenizer and chat template are copied")
    parser.add_argument("--type", default="Q4_0", choices=[*BLOCKS, *FLOATS], help="storage of the matrices")
    parser.add_argument("--output-type", choices=[*BLOCKS, *FLOATS], help="storage of the output matrix (default: as --type)")
    for name, default in (("layers", 22), ("width", 2048), ("heads", 32), ("kv-heads", 4), ("feed-forward", 5632), ("context", 8192), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"(default {default})")
    options = parser.parse_args(arguments)
    if min(options.layers, options.width, options.heads, options.kv_heads, options.feed_forward, options.context) < 1 or options.width % options.heads or options.heads % options.kv_heads:
        parser.error("sizes must be positive, heads must divide width and kv-heads must divide heads")
    return options


def main():
    options = parse_arguments()
    try:
        write_model(options, options.file, progress=sys.stderr.isatty())
    except (OSError, ValueError) as error:
        sys.exit(f"make_random_model: {options.tokenizer_from if isinstance(error, ValueError) else ''} {error}".replace("  ", " "))


if __name__ == "__main__":
    main()
