"""The processor's own code of a kernel, made by LLVM, and kept for the next time.

What is kept is only a copy of what can be made anew: a file counts if it is whole and
nobody but this user can have written it.
"""

import os
from contextlib import suppress
from ctypes import CFUNCTYPE, c_int64, c_void_p
from functools import cache
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryDirectory

import llvmlite
import llvmlite.binding as llvm

KEPT = Path(__file__).parent / "__pycache__" / "kernels"
RUN = CFUNCTYPE(None, c_void_p, c_void_p, c_int64)
OTHERS = 0o022  # the permission to write that others than the owner may have
ENGINES = []  # whose code is in use


@cache
def target():
    """Return LLVM's target machine: this one, or the one to imitate."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = os.environ.get("ENGINE_CPU"), ""
    if cpu is None:
        cpu = llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features().flatten()
    features = os.environ.get("ENGINE_FEATURES", features)
    triple = llvm.Target.from_default_triple()
    machine = triple.create_target_machine(cpu=cpu, features=features, opt=2)
    return machine, f"{cpu} {features}"


def name():
    """Return the name of the processor, and what it can do."""
    return target()[1]


@cache
def compiled(text):
    """Return the address of the function `kernel` of LLVM's text, compiled."""
    version = llvm.llvm_version_info, llvmlite.__version__
    key = sha256(f"{version} {name()} {text}".encode()).hexdigest()
    try:
        return loaded(code_kept(key))
    except (OSError, ValueError, RuntimeError):
        code = target()[0].emit_object(llvm.parse_assembly(text))
        with suppress(OSError):
            keep(key, code)
        return loaded(code)


def loaded(code):
    """Return the address of the function in an object file."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target()[0])
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    if not (address := engine.get_function_address("kernel")):
        raise ValueError("no kernel in an object file")
    ENGINES.append(engine)
    return address


def require_own(path, stat):
    """Raise OSError for what another user could have written."""
    if stat.st_uid != os.geteuid() or stat.st_mode & OTHERS:
        raise PermissionError(f"{path} may be another user's")


def code_kept(key):
    """Return an object file as it was kept; raise OSError or ValueError if it is not.

    It begins with its own SHA-256.
    """
    path = KEPT / f"{key}.o"
    require_own(KEPT, KEPT.lstat())
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        stat = os.fstat(file.fileno())
        require_own(path, stat)
        if not S_ISREG(stat.st_mode):
            raise ValueError(f"{path} is no file")
        kept = file.read()
    if sha256(key.encode() + kept[32:]).digest() != kept[:32]:
        raise ValueError(f"{path} is damaged")
    return kept[32:]


def keep(key, code):
    """Keep an object file, whole or not at all; raise OSError if that cannot be."""
    KEPT.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_own(KEPT, KEPT.lstat())
    with TemporaryDirectory(dir=KEPT) as folder:
        whole = Path(folder, "kernel")
        whole.write_bytes(sha256(key.encode() + code).digest() + code)
        whole.chmod(0o600)
        whole.replace(KEPT / f"{key}.o")
