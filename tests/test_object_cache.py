"""The cache of compiled objects survives what disks, processes and machines do to it: each is done here."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wengert.runtime import codes, jit, objects

PROGRAM = """
import wengert as torch
with torch.configure(tier="1", backend="cpu", eager=False):
    x = torch.arange(1000.0)
    print((x.cos() * x.sin() + 0.25).sum().item().hex(), torch.counters.kernels_compiled, torch.counters.kernels_loaded)
"""
OTHER_MACHINE = """
import llvmlite, llvmlite.binding as llvm
from wengert.runtime import jit
jit.processor = lambda: "another"
real = llvm.get_host_cpu_features()
class Features:
    def flatten(self):
        return ",".join(("-" if "avx512" in k else "+" if on else "-") + k for k, on in real.items())
"""
AS_HASWELL = OTHER_MACHINE + "llvm.get_host_cpu_name = lambda: 'haswell'\nllvm.get_host_cpu_features = Features\n"
WITHOUT_AVX512 = OTHER_MACHINE + "llvm.get_host_cpu_features = Features\n"
OTHER_LLVMLITE = "import llvmlite\nllvmlite.__version__ = '0.0.1'\n"
SMALL_FILES = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"


@pytest.fixture(autouse=True)
def _nothing_is_compiled_meanwhile():
    """What other tests asked for must not end up in the folders of these."""
    codes.background.finish()


def started(cache: Path | str, before: str = "") -> subprocess.Popen[str]:
    source = Path(jit.__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(source), "WENGERT_CACHE_DIR": str(cache), "WENGERT_CACHE": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", before + PROGRAM], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen[str]) -> tuple[str, int, int]:
    """(the result's bits, kernels compiled, kernels loaded)."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    result, compiled, loaded = out.split()
    return result, int(compiled), int(loaded)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> tuple[Path, str, int]:
    """A cache that one process filled, its result, and how many kernels it compiled."""
    cache = tmp_path_factory.mktemp("objects")
    result, compiled, _ = finished(started(cache))
    assert compiled > 0
    return cache, result, compiled


def copied(cache: Path, to: Path) -> Path:
    to.mkdir()
    for path in cache.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_what_one_process_compiled_others_load(filled):
    cache, result, compiled = filled
    assert finished(started(cache)) == (result, 0, compiled)


def test_processes_at_once_while_files_are_damaged(filled, tmp_path):
    """Four processes compile, load and store, while somebody truncates, overwrites and removes what they wrote."""
    cache, result, _ = filled
    shared = copied(cache, tmp_path / "shared")
    done = threading.Event()
    rng = np.random.default_rng(0)
    damages = 0

    def damage() -> None:
        nonlocal damages
        while not done.is_set():
            for path in shared.glob("*.o"):
                how = int(rng.integers(3))
                try:
                    content = path.read_bytes()
                    if how == 0:
                        path.unlink()
                    else:
                        path.write_bytes(content[: len(content) // 2] if how == 1 else rng.bytes(len(content)))
                    damages += 1
                except FileNotFoundError:
                    continue
            time.sleep(0.01)

    vandal = threading.Thread(target=damage)
    vandal.start()
    try:
        processes = [started(shared) for _ in range(4)]
        assert {finished(p)[0] for p in processes} == {result}
    finally:
        done.set()
        vandal.join()
    assert damages > 10
    assert finished(started(shared))[0] == result
    again, compiled, loaded = finished(started(shared))
    assert (again, compiled) == (result, 0)
    assert loaded > 0


def test_a_process_that_is_killed_leaves_nothing_that_is_read(filled, tmp_path):
    _, result, compiled = filled
    for delay in (0.3, 0.6):
        process = started(tmp_path)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again, made, loaded = finished(started(tmp_path))
    assert again == result
    assert made + loaded == compiled


def test_what_killed_processes_left_is_removed_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    old, new = tmp_path / ".old.tmp", tmp_path / ".new.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert objects.write_object("name.o", b"payload")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".new.tmp", "name.o"]


def test_of_too_many_objects_those_read_long_ago_go(tmp_path, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(objects, "MOST", 20)
    monkeypatch.setattr(objects, "FEWER", 5)
    for k in range(23):
        objects.write_object(f"{k}.o", b"code")
        os.utime(tmp_path / f"{k}.o", (1e9 + k, 1e9 + k))
    assert objects.read_object("2.o") == b"code"  # which is noted
    for k in range(23, 25):  # too many at the last, with the file that becomes it
        assert {p.name for p in tmp_path.iterdir()} == {f"{n}.o" for n in range(k)}
        monkeypatch.setattr(objects, "_cleaned", set())
        objects.write_object(f"{k}.o", b"code")
    gone = {"0.o", "1.o", "3.o", "4.o", "5.o"}
    assert {p.name for p in tmp_path.iterdir()} == {f"{n}.o" for n in range(25)} - gone


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_no_damage_goes_unnoticed(tmp_path, monkeypatch, how):
    """Every length that a file can be cut to, and every bit."""
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    payload = bytes(range(64))
    objects.write_object("name.o", payload)
    path = tmp_path / "name.o"
    good = path.read_bytes()
    assert objects.read_object("name.o") == payload
    if how == "cut":
        damaged = [good[:k] for k in range(len(good))]
    else:
        damaged = [
            good[:k] + bytes([good[k] ^ (1 << bit)]) + good[k + 1 :] for k in range(len(good)) for bit in range(8)
        ]
    for content in damaged:
        path.write_bytes(content)
        assert objects.read_object("name.o") is None
    path.write_bytes(good)
    assert objects.read_object("name.o") == payload


@pytest.mark.parametrize(
    "machine", [AS_HASWELL, WITHOUT_AVX512, OTHER_LLVMLITE], ids=["processor", "features", "llvmlite"]
)
def test_other_machines_and_versions_keep_objects_of_their_own(filled, tmp_path, machine):
    cache, result, compiled = filled
    if machine is not OTHER_LLVMLITE and jit.host().triple.split("-")[0] != "x86_64":
        pytest.skip("names a processor of another architecture")
    if machine is WITHOUT_AVX512 and "+avx512f" not in jit.host().features.split(","):
        pytest.skip("there is no AVX-512 to leave out")
    shared = copied(cache, tmp_path / "shared")
    assert finished(started(shared, machine)) == (result, compiled, 0)  # nothing of ours was loaded there
    assert finished(started(shared)) == (result, 0, compiled)  # and nothing of theirs here


X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
stepping\t: 1
flags\t\t: fpu avx avx2 fma
cpu MHz\t\t: 2445.4
"""
ARM = """processor\t: 0
Features\t: fp asimd
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1
BogoMIPS\t: 50.00
"""


@pytest.mark.parametrize("text", [X86, ARM], ids=["x86", "arm"])
def test_a_processor_is_known_by_all_that_decides_code(monkeypatch, text):
    def known(text, machine="x86_64"):
        monkeypatch.setattr(jit, "Path", lambda _: SimpleNamespace(read_text=lambda: text))
        monkeypatch.setattr(jit.platform, "machine", lambda: machine)
        return jit.processor()

    lines = text.splitlines()
    for k, line in enumerate(lines):
        other = "\n".join([*lines[:k], f"{line}9", *lines[k + 1 :]])
        number_or_speed = line.startswith(("processor", "cpu MHz", "BogoMIPS"))
        assert (known(other) == known(text)) is number_or_speed, line
    assert known(text * 2) == known(text)  # so many of the same
    assert known(text, "i686") != known(text)


def test_an_object_is_known_by_all_that_made_it(monkeypatch, tmp_path):
    def name():
        jit._identity.cache_clear()
        return jit._file_name("key")

    names = {name(), jit._file_name("another key")}
    for module, what, value in [
        (jit, "processor", lambda: "another"),
        (jit.llvmlite, "__version__", "0.0.1"),
        (jit, "CACHE_FORMAT", -1),
        (jit, "_sources_digest", lambda: "another"),
    ]:
        with monkeypatch.context() as m:
            m.setattr(module, what, value)
            names.add(name())
    assert len(names) == 6
    monkeypatch.undo()
    name()


def test_sources_are_those_that_decide_code(monkeypatch, tmp_path):
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "runtime" / "jit.py"))
    found = [jit._sources_digest()]
    for folder in ("runtime", "compiler", "ops", "nn"):
        (tmp_path / folder / "inner").mkdir(parents=True)
        (tmp_path / folder / "inner" / "source.py").write_text(folder)
        found.append(jit._sources_digest())
    assert len(set(found)) == 4
    assert found[3] == found[4]


def test_an_object_that_calls_what_is_not_there_is_not_loaded(monkeypatch, tmp_path):
    """The linker would end the process."""
    monkeypatch.setattr(jit, "_codes", {})
    monkeypatch.setenv("WENGERT_CACHE", "1")
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    text = "declare void @NAME()\ndefine void @kernel() {\n  call void @NAME()\n  ret void\n}\n"
    for name, there in (("wengert_nowhere", False), ("abort", True)):
        objects.write_object(jit._file_name(name), jit.emit(text.replace("NAME", name)))
        assert (jit.load_cached(name) is not None) is there


def test_a_disk_that_is_full(filled, tmp_path):
    """The system refuses to let a file grow: results are there, no part of a file is, and later runs store."""
    _, result, compiled = filled
    assert finished(started(tmp_path, SMALL_FILES)) == (result, compiled, 0)
    assert list(tmp_path.iterdir()) == []
    assert finished(started(tmp_path)) == (result, compiled, 0)
    assert len(list(tmp_path.iterdir())) >= compiled


@pytest.mark.parametrize("call", ["mkstemp", "fdopen", "replace"])
def test_no_space_at_any_moment(tmp_path, monkeypatch, call):
    def full(*args, **keywords):
        if call == "fdopen":
            os.close(args[0])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(objects.tempfile if call == "mkstemp" else objects.os, call, full)
    assert objects.write_object("name.o", b"payload") is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/wengert", "a file", "a folder that nobody may write to"])
def test_folders_that_cannot_be_written(filled, tmp_path, place):
    _, result, compiled = filled
    if place == "a file":
        (tmp_path / place).write_text("in the way")
        place = str(tmp_path / place)
    elif place.startswith("a folder"):
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        tmp_path.chmod(0o500)
        place = str(tmp_path)
    assert finished(started(place)) == (result, compiled, 0)


def test_a_folder_where_a_file_should_be(filled, tmp_path):
    cache, result, compiled = filled
    shared = tmp_path / "shared"
    for path in cache.iterdir():
        (shared / path.name).mkdir(parents=True)
    again, made, _ = finished(started(shared))
    assert (again, made) == (result, compiled)
    assert not list(shared.glob(".*.tmp"))


def test_a_folder_that_vanishes_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("WENGERT_CACHE_DIR", str(tmp_path / "cache"))
    assert objects.write_object("name.o", b"payload")
    (tmp_path / "cache" / "name.o").unlink()
    (tmp_path / "cache").rmdir()
    assert objects.read_object("name.o") is None
    assert objects.write_object("name.o", b"payload")
    assert objects.read_object("name.o") == b"payload"
