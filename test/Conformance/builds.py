"""Finds the tools of a build and the shared models, for the tests of this folder."""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tool(name, build=None):
    """Path of a built tool, or None. `build` is a build folder; without it FFN_BUILD_DIR, then any preset."""
    if build is None:
        if folder := os.environ.get("FFN_BUILD_DIR"):
            candidates = [pathlib.Path(folder)]
        else:
            candidates = [ROOT / "build" / preset for preset in ("release", "dev", "asan")]
    else:
        candidates = [pathlib.Path(build)]
    for candidate in candidates:
        path = candidate / "bin" / name
        if path.is_file():
            return path
    return None


def asan_build():
    """The sanitizer build beside the chosen one."""
    if folder := os.environ.get("FFN_BUILD_DIR"):
        return pathlib.Path(folder).parent / "asan"
    return ROOT / "build" / "asan"


def sanitizer_environment():
    return {
        **os.environ,
        "ASAN_OPTIONS": "detect_leaks=0:allow_user_poisoning=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
    }


def shared_models():
    """Folder of models that are not part of the repository, or None."""
    shared = pathlib.Path(os.environ.get("FFN_SHARED", ROOT.parent / "shared"))
    return shared / "models" if (shared / "models").is_dir() else None
