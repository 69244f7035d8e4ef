#!/usr/bin/env python3
"""The text of the CPython standard library, split by package name.

Three disjoint sets of .py files, each a list of (name, bytes) sorted by name,
where the name is the path relative to the library directory:

  held-out    the packages of HELD_OUT; never read in training
  validation  the packages of VALIDATION; only watched during training
  training    everything else

Left out of all three: test suites, site-packages, and files that are mostly
generated tables (see GENERATED), which hold numbers rather than code.
"""
import hashlib
import os
import sysconfig

HELD_OUT = ("json", "email", "http", "logging", "sqlite3")
VALIDATION = ("wsgiref",)
SKIPPED_DIRS = {"test", "tests", "idle_test", "site-packages", "dist-packages",
                "__pycache__", "ctypes_test"}
GENERATED = ("pydoc_data/topics.py", "html/entities.py", "_sysconfigdata")
# One byte that no source file contains begins every file, in training and
# in evaluation alike.
SEPARATOR = b"\x00"


def library_dir():
    return sysconfig.get_path("stdlib")


def is_generated(name, text):
    if name.startswith(GENERATED):
        return True
    # Code page tables: about one hundred files of 256 commented numbers.
    return name.startswith("encodings/") and b"decoding_table = (" in text


def files(root=None):
    """(name, bytes) of every .py file that belongs to one of the sets."""
    root = root or library_dir()
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(d for d in folders if d not in SKIPPED_DIRS
                            and not d.startswith("config-"))
        for name in sorted(names):
            if not name.endswith(".py"):
                continue
            path = os.path.join(folder, name)
            rel = os.path.relpath(path, root).replace(os.sep, "/")
            with open(path, "rb") as f:
                text = f.read().replace(b"\r\n", b"\n")
            if text and b"\x00" not in text and not is_generated(rel, text):
                found.append((rel, text))
    return sorted(found)


def top(name):
    return name.split("/")[0].removesuffix(".py")


def split(root=None):
    """{"training": [...], "validation": [...], "held-out": [...]}"""
    sets = {"training": [], "validation": [], "held-out": []}
    for name, text in files(root):
        key = ("held-out" if top(name) in HELD_OUT else
               "validation" if top(name) in VALIDATION else "training")
        sets[key].append((name, text))
    return sets


def join(items):
    """One byte string of all files, each begun by the separator."""
    return b"".join(SEPARATOR + text for _, text in items)


def sha256(text):
    return hashlib.sha256(text).hexdigest()


def main():
    import sys
    print("Python", sys.version.split()[0])
    sets = split()
    for key, items in sets.items():
        print(f"{key}: {len(items)} files, {sum(len(t) for _, t in items)} bytes, "
              f"sha256 of all in order {sha256(join(items))}")
    for name, text in sets["held-out"]:
        print(f"{sha256(text)}  {name}  {len(text)}")


if __name__ == "__main__":
    main()
