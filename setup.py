"""Builds gpgan/_C.abi3.so: one library for torch >= 2.11 and Python >= 3.10, with CUDA kernels if nvcc is found.

Environment:
    GPGAN_CUDA            auto (default): CUDA kernels if nvcc is found; 1: required; 0: no CUDA kernels.
    TORCH_CUDA_ARCH_LIST  e.g. "8.0 9.0+PTX"; by default all of DEFAULT_ARCHITECTURES that nvcc supports, and PTX of the
                          last one for future devices.
    CUDA_HOME             the toolkit, if it is not that of the nvcc on the PATH.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from setuptools import Extension, setup
from torch.utils import cpp_extension

ROOT = Path(__file__).parent
DEFAULT_ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
# torch 2.11, the oldest version whose stable ABI is used: the library runs on it and on every later one.
TARGET_VERSION = "0x020b000000000000"


def cuda_home() -> Path | None:
    """The CUDA toolkit to build with, or None for a library without CUDA kernels."""
    choice = os.environ.get("GPGAN_CUDA", "auto")
    if choice not in ("auto", "0", "1"):
        raise SystemExit(f"GPGAN_CUDA is {choice!r}; expected auto, 0 or 1")
    if choice == "0":
        return None
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    on_path = shutil.which("nvcc")
    candidates = [Path(named)] if named else []
    candidates += [Path(on_path).resolve().parent.parent] if on_path else []
    candidates += [Path("/usr/local/cuda")]
    other = ""
    for home in candidates:
        # An nvcc on the PATH may be a script outside its toolkit.
        if not ((home / "bin" / "nvcc").exists() and (home / "include" / "cuda_runtime.h").exists()):
            continue
        # torch refuses to build with a major version other than its own; a torch without CUDA has none.
        version = subprocess.run(
            [home / "bin" / "nvcc", "--version"], check=True, capture_output=True, text=True
        ).stdout
        major = re.search(r"release (\d+)\.", version)
        if torch.version.cuda is None or (major and major[1] == torch.version.cuda.split(".")[0]):
            return home
        other = f"; the major version of {home} differs from that of torch's CUDA {torch.version.cuda}"
    if choice == "auto" and other:
        print(f"gpgan is built without CUDA kernels{other}")  # noqa: T201
    if choice == "1":
        looked = ", ".join(str(home / "bin" / "nvcc") for home in candidates)
        raise SystemExit(
            f"GPGAN_CUDA is 1 and no toolkit with nvcc and cuda_runtime.h was found (tried {looked}){other}; install the CUDA toolkit or set CUDA_HOME"
        )
    return None


def architectures(nvcc: Path) -> list[str]:
    """Compute capabilities to compile for, as in TORCH_CUDA_ARCH_LIST: "9.0", or "12.0+PTX"."""
    named = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(";", " ").split()
    if named:
        wrong = [name for name in named if not re.fullmatch(r"\d+\.\d+[af]?(\+PTX)?", name)]
        if wrong:
            raise SystemExit(f"TORCH_CUDA_ARCH_LIST has {wrong[0]!r}; expected numbers like 9.0 or 9.0+PTX")
        return named
    known = subprocess.run([nvcc, "--list-gpu-arch"], check=True, capture_output=True, text=True).stdout.split()
    chosen = [name for name in DEFAULT_ARCHITECTURES if f"compute_{name.replace('.', '')}" in known]
    return [*chosen[:-1], f"{chosen[-1]}+PTX"]


def gencode(architecture: str) -> list[str]:
    number, _, ptx = architecture.replace(".", "").partition("+")
    flags = [f"-gencode=arch=compute_{number},code=sm_{number}"]
    return [*flags, f"-gencode=arch=compute_{number},code=compute_{number}"] if ptx else flags


def extension() -> Extension:
    home = cuda_home()
    includes = [str(ROOT / "csrc"), *cpp_extension.include_paths()]
    sources = sorted((ROOT / "csrc").glob("cpu/*.cpp")) + sorted((ROOT / "csrc").glob("torch/*.cpp"))
    macros: list[tuple[str, str | None]] = [("TORCH_TARGET_VERSION", TARGET_VERSION)]
    # No contraction to fused multiply-add, so that results are bitwise equal on every instruction set.
    cxx = ["-std=c++20", "-O3", "-fopenmp-simd", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-g0"]
    # --no-as-needed: the library names few of torch's symbols, but the loader must load torch first.
    link = ["-Wl,--no-as-needed", "-ltorch", "-Wl,--as-needed"] if sys.platform == "linux" else ["-ltorch"]
    library_dirs = cpp_extension.library_paths()
    nvcc: list[str] = []
    if home:
        # torch sets this at import, to None if torch itself was built without CUDA.
        cpp_extension.CUDA_HOME = str(home)
        chosen = architectures(home / "bin" / "nvcc")
        macros += [("GPGAN_WITH_CUDA", None), ("GPGAN_CUDA_ARCHITECTURES", f'"{" ".join(chosen)}"')]
        nvcc = ["-std=c++20", "-O3", "--threads=2", *(flag for name in chosen for flag in gencode(name))]
        sources += sorted((ROOT / "csrc").glob("cuda/*.cu"))
        includes.append(str(home / "include"))
        library_dirs += [str(home / folder) for folder in ("lib64", "lib") if (home / folder).is_dir()]
        link += ["-lcudart_static", "-lrt", "-ldl", "-lpthread"]
    return Extension(
        "gpgan._C",
        [str(path.relative_to(ROOT)) for path in sources],
        include_dirs=includes,
        library_dirs=library_dirs,
        define_macros=macros,
        depends=[str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.*h")],
        extra_compile_args={"cxx": cxx, "nvcc": nvcc},
        extra_link_args=link,
        py_limited_api=True,
    )


class Build(cpp_extension.BuildExtension):
    """torch's build with ninja. It insists on TORCH_CUDA_ARCH_LIST; the architectures are already given as flags."""

    def build_extensions(self) -> None:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "9.0")
        super().build_extensions()


if not torch.__version__ or tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 11):
    raise SystemExit(f"torch is {torch.__version__}; expected 2.11 or later: pip install 'torch>=2.11'")

setup(
    ext_modules=[extension()],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
