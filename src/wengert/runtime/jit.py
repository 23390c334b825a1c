"""LLVM IR text to machine code, through llvmlite.

`compile_ir(text, key)` verifies, optimises, emits and loads a module and returns its `Code`, whose `address(symbol)`
is what a plan stores. `load_cached(key)` returns the same without any text, from memory or from disk, so that a caller
that finds its kernel there need not render it. The key must determine the text: a structural key of the kernel, say.
What else decides the machine code (processor, its features, llvmlite, our sources that render) is added here.

Code is never unloaded, because plans hold bare addresses; a kernel costs 4 to 20 KB.

The pipeline is short because our generator already shares subexpressions and hoists what is invariant. Measured on a
loop of 60 operations and 3 exponentials (Zen 3): 1.1 ms of passes and 10 ms of emission, against 9 and 10 ms at -O1
for code 2 % faster; instcombine and GVN cost 0.7 ms each and changed nothing.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wengert.compiler import llvm_pack
from wengert.compiler.llvm_ops import Instructions
from wengert.errors import InternalError
from wengert.lazy import lazy
from wengert.runtime import loader, objects, trace

llvm = lazy("llvmlite.binding")
llvmlite = lazy("llvmlite")

CACHE_FORMAT = 1
"""Part of every cache name: raise it when the pipeline or the meaning of an object changes."""


class InternalCompilerError(InternalError):
    """The IR that we made is not valid, or names a function that does not exist: never the user's doing.

    `text` is the whole module.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"internal error: {reason}\n--- LLVM IR ---\n{text}")
        self.text = text


class Host(NamedTuple):
    """What code is generated for. `header` is the IR text that every module starts with; `has`: instructions
    that not all processors of the kind have."""

    cpu: str
    features: str
    triple: str
    header: str
    has: Instructions


@dataclass
class Stats:
    """Counters since import (or since `reset`): modules compiled, objects found on disk, seconds spent in LLVM."""

    compiled: int = 0
    disk_hits: int = 0
    compile_seconds: float = 0.0
    load_seconds: float = 0.0

    def reset(self) -> None:
        """Set all counters to zero."""
        self.compiled = self.disk_hits = 0
        self.compile_seconds = self.load_seconds = 0.0


class Code:
    """A loaded module. `functions` maps the names of its functions and constants to their addresses."""

    __slots__ = ("functions", "key", "object_size")

    def __init__(self, key: str, functions: dict[str, int], object_size: int) -> None:
        self.key = key
        self.functions = functions
        self.object_size = object_size

    def address(self, symbol: str) -> int:
        """The address of the function `symbol`; KeyError if the module does not define it."""
        return self.functions[symbol]


AT_ONCE = 4  # modules that are compiled at the same time, at most

stats = Stats()
_lock = threading.RLock()  # of tables, and of everything in LLVM that is quick
_emitting = threading.Semaphore(AT_ONCE)  # held while a module is compiled
_NO_SYMBOL = {"_GLOBAL_OFFSET_TABLE_"}  # that LLVM names
_making: dict[str, threading.Lock] = {}
_local = threading.local()
_codes: dict[str, Code] = {}
_host: Host | None = None
_engine: Any = None
_kept: list[Any] = []  # objects of LLVM that live as long as the process


def host() -> Host:
    """The processor that code is generated for, found once."""
    global _host
    if _host is not None:
        return _host
    with _lock:
        if _host is None:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
            triple = llvm.get_process_triple()
            machine = _target_machine(triple, cpu, features)
            header = f'target datalayout = "{machine.target_data}"\ntarget triple = "{triple}"\n'
            there = set(features.split(","))
            half = "+f16c" in there or triple.startswith(("aarch64", "arm64"))
            _host = Host(cpu, features, triple, header, Instructions(half, {"+avx512f", "+avx512vl"} <= there))
        return _host


def is_loaded() -> bool:
    """Whether LLVM is there already: loading it takes as long as interpreting a small program many times."""
    return _host is not None


def load_cached(key: str) -> Code | None:
    """The code of `key` if this process or the disk cache has it, else None."""
    code = _codes.get(key)
    if code is not None:
        return code
    begin = trace.start()
    payload = objects.read_object(_file_name(key))
    if payload is None:  # without the lock: a caller that finds nothing does not wait for a compile on another thread
        return None
    with _lock:
        if key not in _codes:
            if _missing(payload):
                return None
            _codes[key] = _load(payload, key)
            stats.disk_hits += 1
            trace.stop(begin, "load", "load code")
        return _codes[key]


def compile_ir(text: str, key: str, quick: bool = False) -> Code:
    """Compile and load the module `text`, or return what is already there under `key`. `quick`: in a quarter of the
    time, for code that needs one to two and a half times as long, which the key must tell.

    Raises:
        InternalCompilerError: the text does not parse or verify, or calls a function that the process does not have.
    """
    code = load_cached(key)
    if code is not None:
        return code
    with _lock:
        making = _making.setdefault(key, threading.Lock())
    with making:  # another thread that makes the same is waited for
        if key not in _codes:
            _make(text, key, quick)
    with _lock:
        _making.pop(key, None)
    return _codes[key]


def _make(text: str, key: str, quick: bool) -> None:
    start, begin = time.perf_counter(), trace.start()
    payload = emit(text, quick=quick)
    with _lock:
        missing = _missing(payload)
        if missing:
            raise InternalCompilerError(f"calls functions that do not exist: {', '.join(missing)}", text)
        stats.compiled += 1
        stats.compile_seconds += time.perf_counter() - start
        _codes[key] = _load(payload, key)
    trace.stop(begin, "compile", "compile")
    objects.write_object(_file_name(key), payload)


def emit(text: str, assembly: bool = False, quick: bool = False) -> Any:
    """Verify and optimise the module `text`; return its object as bytes, or its assembly as text.

    Several threads may do so at once: each module has a context of its own, and each thread a target machine. llvmlite
    makes all calls of LLVM one after the other, so the one that takes long, emission, does not go through it.
    """
    target = host()
    with _emitting, llvm.create_context() as context:
        with _parse(text if "target datalayout" in text else target.header + text, context) as module:
            machine = _machine(target, quick)
            _optimise(module, machine)
            return machine.emit_assembly(module) if assembly else _object(module, machine)


def _machine(target: Host, quick: bool) -> Any:
    """The target machine of this thread."""
    name = "quick" if quick else "full"
    machine = getattr(_local, name, None)
    if machine is None:
        machine = _target_machine(target.triple, target.cpu, target.features, 0 if quick else 2)
        setattr(_local, name, machine)
        _kept.append(machine)
    return machine


def _object(module: Any, machine: Any) -> bytes:
    lib = llvm.ffi.lib
    with llvm.ffi.OutputString() as error:
        buffer = _emission()(machine, module, 1, error)
        if not buffer:
            raise InternalCompilerError(f"LLVM emits no code: {error}", str(module))
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(buffer), lib.LLVMPY_GetBufferSize(buffer))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(buffer)


@functools.cache
def _emission() -> Any:
    """Emission as llvmlite declares it, without the lock of llvmlite."""
    declared = llvm.ffi.lib.LLVMPY_TargetMachineEmitToMemory
    function = ctypes.CDLL(llvm.ffi.lib._name).LLVMPY_TargetMachineEmitToMemory
    function.argtypes, function.restype = declared.argtypes, declared.restype
    return function


def _parse(text: str, context: Any) -> Any:
    try:
        module = llvm.parse_assembly(text, context)
        module.verify()
    except RuntimeError as error:
        raise InternalCompilerError(f"LLVM rejects this module: {str(error).strip()}", text) from None
    return module


def _target_machine(triple: str, cpu: str, features: str, level: int = 2) -> Any:
    target = llvm.Target.from_triple(triple)
    return target.create_target_machine(cpu=cpu, features=features, opt=level, reloc="pic", codemodel="small", jit=True)


def _optimise(module: Any, machine: Any) -> None:
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)


def _load(payload: bytes, key: str) -> Code:
    """Load an object whose undefined symbols all exist."""
    start = time.perf_counter()
    functions = loader.load(payload, _address) if loader.loads(payload) else _load_by_llvm(payload)
    stats.load_seconds += time.perf_counter() - start
    return Code(key, functions, len(payload))


def _load_by_llvm(payload: bytes) -> dict[str, int]:
    """One engine takes all objects. They may define equal names: the engine then knows the newest, so addresses are
    asked for at once."""
    global _engine
    if _engine is None:
        target = host()
        machine = _target_machine(target.triple, target.cpu, target.features)
        _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(target.header), machine)
        _kept.append(_engine)
    defined, undefined = objects.symbols(payload)
    for name in undefined - _NO_SYMBOL:
        llvm.add_symbol(name, _address(name))
    _engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(payload))
    _engine.finalize_object()
    return {name: _engine.get_function_address(name) for name in sorted(defined)}


def _missing(payload: bytes) -> list[str]:
    """Undefined symbols of an object that the process does not have: loading them would abort the process."""
    return [name for name in sorted(objects.symbols(payload)[1] - _NO_SYMBOL) if not _address(name)]


def _address(name: str) -> int:
    """Where a function is that code calls, or 0. What kernels share is compiled when the first of them needs it."""
    if name in llvm_pack.NAMES:
        text = llvm_pack.define(name)
        return compile_ir(text, text).address(name)
    return 0 if name in _NO_SYMBOL else loader.symbol_of_process(name)


def _file_name(key: str) -> str:
    return hashlib.sha256(f"{key}\0{_identity()}".encode()).hexdigest() + ".o"


@functools.cache
def _identity() -> str:
    """What decides the machine code of a text, found without LLVM, which detects processors by what is read here."""
    return "\0".join([processor(), llvmlite.__version__, str(CACHE_FORMAT), _sources_digest()])


def processor() -> str:
    """Which processor this is, and what it can do, as the system describes it."""
    wanted = {"vendor_id", "cpu family", "model", "stepping", "flags", "Features"}
    wanted |= {f"CPU {word}" for word in ("implementer", "architecture", "variant", "part", "revision")}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # a system that does not tell
        return f"{host().cpu} {host().features}"
    return "\n".join([platform.machine(), *dict.fromkeys(l for l in lines if l.partition(":")[0].strip() in wanted)])


@functools.cache
def instructions() -> frozenset[str]:
    """What this processor can do, in the words of the system: LLVM need not be there to tell."""
    return frozenset(processor().replace(",", " ").replace("+", " ").split())


def _sources_digest() -> str:
    """A digest of the sources that render kernels, so that editing them cannot bring back what the old ones made."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for folder in ("compiler", "ops", "runtime"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _at_exit() -> None:
    """LLVM's objects end with the process: llvmlite cannot dispose of them once its modules are being cleared."""
    global _local
    while _kept:
        _kept.pop().detach()
    _local = threading.local()


atexit.register(_at_exit)


def _before_fork() -> None:
    """No thread may be inside LLVM when the process is copied."""
    _lock.acquire()
    for _ in range(AT_ONCE):
        _emitting.acquire()


def _after_fork() -> None:
    _emitting.release(AT_ONCE)
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock, _emitting
    _lock, _emitting = threading.RLock(), threading.Semaphore(AT_ONCE)
    _making.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
