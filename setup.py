"""Build script. NKFAST_BUILD chooses the mode: release (default), debug, coverage, sanitize.

csrc/ is compiled once into a static library that every Cython module links.
"""

import os
import sys
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, CompileError, ExecError, PlatformError

ROOT = Path(__file__).parent
MODES = ("release", "debug", "coverage", "sanitize")
MODE = os.environ.get("NKFAST_BUILD", "release")
if MODE not in MODES:
    raise SystemExit(f"NKFAST_BUILD must be one of {', '.join(MODES)}, was {MODE!r}")

COMPILE_FLAGS = {
    "unix": {
        # -O3 and -DNDEBUG are repeated on purpose: since setuptools 75.7 a
        # CFLAGS variable replaces the interpreter's own flags.
        "release": ["-std=c11", "-O3", "-DNDEBUG", "-g0", "-fvisibility=hidden"],
        "debug": ["-std=c11", "-O0", "-g3", "-UNDEBUG", "-fvisibility=hidden"],
        # Asserts are compiled out here: otherwise each one is an untaken branch.
        "coverage": ["-std=c11", "-O0", "-g", "-DNDEBUG", "--coverage"],
        "sanitize": [
            "-std=c11",
            "-O1",
            "-g",
            "-UNDEBUG",
            "-fno-omit-frame-pointer",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=undefined",
        ],
    },
    "msvc": {mode: ["/std:c11", "/O2", "/W3"] for mode in MODES},
}
LINK_FLAGS = {"coverage": ["--coverage"], "sanitize": ["-fsanitize=address,undefined"]}
# For our own C only: the code Cython generates is not ours to judge. Errors
# everywhere but in a release build, so that a newer compiler on a user's
# machine can never turn a new warning into a failed installation.
OWN_C_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Wstrict-prototypes",
    *(["-Werror"] if MODE != "release" else []),
]
DIRECTIVES = {
    "language_level": "3",
    "boundscheck": MODE != "release",
    "wraparound": False,
    "initializedcheck": MODE != "release",
    "cdivision": True,
    "embedsignature": True,
    "embedsignature.format": "python",
    "binding": True,  # stubtest sees parameter names only with this
    "freethreading_compatible": False,  # until each module has been audited for it
    "linetrace": MODE == "coverage",
}
MACROS = {
    "coverage": [
        ("CYTHON_TRACE", "1"),
        ("CYTHON_TRACE_NOGIL", "1"),
        ("CYTHON_USE_SYS_MONITORING", "0"),
    ],
}.get(MODE, [])

NO_COMPILER = """
nkfast is a compiled package and no working C compiler was found.

  Tried:   {tried}
  Error:   {error}

  Linux:   install gcc and the Python headers (Debian: build-essential python3-dev)
  macOS:   xcode-select --install
  Windows: install "Build Tools for Visual Studio" with the C++ workload

Or install a ready-made wheel:  pip install --only-binary nkfast nkfast
"""


def family(compiler):
    """Return the key of COMPILE_FLAGS for a distutils compiler."""
    return "msvc" if compiler.compiler_type == "msvc" else "unix"


def refuse_without_compiler(error, compiler):
    """End the build with a message that says what to install."""
    tried = " ".join(getattr(compiler, "compiler_so", None) or [compiler.compiler_type])
    sys.stderr.write(NO_COMPILER.format(tried=tried, error=error))
    raise SystemExit(1)


class BuildCsrc(build_clib):
    """Compile csrc/ once, into a static library that every extension links."""

    def build_libraries(self, libraries):
        self.probe_compiler()
        flags = COMPILE_FLAGS[family(self.compiler)][MODE]
        if family(self.compiler) == "unix":
            # The library ends up in shared objects, so it is position independent.
            flags = [*flags, "-fPIC", *OWN_C_WARNINGS]
        for _name, info in libraries:
            info["cflags"] = flags
        super().build_libraries(libraries)

    def probe_compiler(self):
        paths = sysconfig.get_paths()
        probe = Path(self.build_temp, "probe.c")
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("#include <Python.h>\nint nk_probe(void) { return 0; }\n")
        try:
            self.compiler.compile(
                [str(probe)],
                output_dir=self.build_temp,
                include_dirs=[*(self.include_dirs or []), paths["include"], paths["platinclude"]],
            )
        except (CCompilerError, CompileError, ExecError, PlatformError, OSError) as error:
            refuse_without_compiler(error, self.compiler)


class BuildExt(build_ext):
    """Add the flags of the chosen mode, known only once the compiler is."""

    def finalize_options(self):
        super().finalize_options()
        # Object files live apart per mode (build_base below); the in-place
        # modules do not, so a change of mode must relink them.
        stamp = ROOT / "build" / "mode"
        self.force = self.force or not stamp.exists() or stamp.read_text() != MODE
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(MODE)

    def run(self):
        # In-place and editable builds do not pass through `build`.
        if self.distribution.has_c_libraries():
            self.run_command("build_clib")
        super().run()

    def build_extensions(self):
        for extension in self.extensions:
            extension.extra_compile_args = COMPILE_FLAGS[family(self.compiler)][MODE]
            extension.extra_link_args = LINK_FLAGS.get(MODE, [])
        super().build_extensions()


def relative(paths):
    """Return the paths as setuptools wants them: relative, sorted, with slashes."""
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


KERNELS = relative((ROOT / "csrc").glob("nk_*.c"))
HEADERS = relative((ROOT / "csrc").glob("nk_*.h"))
MODULES = relative((ROOT / "nkfast").rglob("*.pyx"))

setup(
    libraries=[
        ("nkcsrc", {"sources": KERNELS, "include_dirs": ["csrc"], "obj_deps": {"": HEADERS}}),
    ],
    ext_modules=cythonize(
        [
            Extension(
                module.removesuffix(".pyx").replace("/", "."),
                [module],
                include_dirs=["csrc", numpy.get_include()],
                depends=[*HEADERS, *KERNELS],  # relink when a kernel changes
                define_macros=[*MACROS, ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            )
            for module in MODULES
        ],
        compiler_directives=DIRECTIVES,
        # Coverage needs the .c beside the .pyx to map lines back.
        build_dir=None if MODE == "coverage" else f"build/{MODE}/cython",
        annotate=os.environ.get("NKFAST_ANNOTATE") == "1",
    ),
    options={"build": {"build_base": f"build/{MODE}"}},
    cmdclass={"build_clib": BuildCsrc, "build_ext": BuildExt},
)
