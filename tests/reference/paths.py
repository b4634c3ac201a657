"""The path rules of docs/spec/content.md, section 4, one after the other.

`python -m tests.reference.paths` writes tests/vectors/paths/paths.json again.
"""

import itertools
import json
import unicodedata
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "vectors" / "paths" / "paths.json"
RANGES = [
    *[(0x00, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200F)],
    *[
        (0x2028, 0x202E),
        (0x2060, 0x206F),
        (0xD800, 0xDFFF),
        (0xFEFF, 0xFEFF),
        (0xFFF0, 0xFFFF),
        (0xE0000, 0xE0FFF),
    ],
]
DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
DEVICES |= {name + digit for name in ("COM", "LPT") for digit in "0123456789¹²³"}


def reference_accepts(path):
    """Whether one path passes rules 1 to 5."""
    if any(low <= ord(char) <= high for char in path for low, high in RANGES) or "\\" in path or ":" in path:
        return False
    if not 1 <= len(path.encode()) <= 1024 or unicodedata.normalize("NFC", path) != path:
        return False
    components = path.split("/")
    return len(components) <= 64 and all(map(_accepts_component, components))


def _accepts_component(name):
    if not 1 <= len(name.encode()) <= 255 or name in (".", ".."):
        return False
    if name.startswith(" ") or name.endswith((" ", ".")):
        return False
    return name.split(".")[0].rstrip().upper() not in DEVICES


def _fold(text):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _prefixes(path):
    components = path.split("/")
    return ["/".join(components[: count + 1]) for count in range(len(components))]


def reference_accepts_set(paths):
    """Whether a list of paths passes all rules."""
    if not all(map(reference_accepts, paths)):
        return False
    for a, b in itertools.combinations(paths, 2):
        if _fold(a) in map(_fold, _prefixes(b)) or _fold(b) in map(_fold, _prefixes(a)):
            return False
        for x, y in itertools.product(_prefixes(a), _prefixes(b)):
            if x != y and _fold(x) == _fold(y):
                return False
    return True


def valid():
    """Paths to accept."""
    yield from [
        "a",
        "model.safetensors",
        "onnx/model.onnx_data",
        "a/b/c/d",
        ".gitattributes",
        "..a",
        "a..b",
        "...a/b",
    ]
    yield from [
        "x" * 255,
        "é" * 127,
        "/".join(["a"] * 64),
        "/".join(["x" * 204] * 4 + ["y" * 204]),
        "日本語/模型.bin",
    ]
    yield from [
        "-rf",
        "~",
        "~root",
        "$HOME",
        "a b",
        "a'b\"c",
        "*?<>|",
        "%2e%2e",
        "con1",
        "com",
        "com10",
        "nul_",
        "console",
    ]
    yield from [
        "model (1).onnx",
        "é",
        "\U0001f600",
        "ﬁle",
        "aux-1/x",
        "a\u0300b".replace("a\u0300", "à"),
        "COM⁴",
    ]


def refused():
    """Paths to refuse, by the attack."""
    yield from {
        "empty": "",
        "absolute": "/etc/passwd",
        "absolute_twice": "//server/share",
        "parent": "..",
        "parent_first": "../x",
        "parent_inside": "a/../../x",
        "parent_last": "a/..",
        "here": ".",
        "here_inside": "a/./b",
        "slash_at_the_end": "a/",
        "empty_component": "a//b",
        "backslash": "a\\b",
        "backslash_parent": "..\\x",
        "drive": "C:/x",
        "drive_relative": "C:x",
        "alternate_stream": "a.txt:stream",
        "nul": "a\x00b",
        "newline": "a\nb",
        "escape_sequence": "a\x1b[2Jb",
        "delete": "a\x7f",
        "c1_control": "a\x85b",
        "soft_hyphen": "a\xadb",
        "right_to_left_override": "a\u202egpj.exe",
        "isolate": "a\u2066b",
        "zero_width_space": "a\u200bb",
        "zero_width_joiner": "a\u200db",
        "byte_order_mark": "\ufeffa",
        "line_separator": "a\u2028b",
        "tag_character": "a\U000e0041",
        "surrogate": "a\udc80",
        "noncharacter": "a\uffff",
        "not_nfc": "e\u0301",
        "not_nfc_hangul": "\u1100\u1161",
        "not_nfc_angstrom": "\u212b",
        "space_at_the_end": "a ",
        "space_at_the_end_inside": "a /b",
        "space_at_the_start": " a",
        "space_only": "a/ /b",
        "dot_at_the_end": "a.",
        "dots_only": "...",
        "dot_at_the_end_inside": "a./b",
        "device": "NUL",
        "device_lower": "nul",
        "device_suffix": "nul.safetensors",
        "device_two_suffixes": "CON.tar.gz",
        "device_inside": "a/aux/b",
        "device_console": "CONIN$",
        "device_number": "com1.txt",
        "device_zero": "LPT0",
        "device_superscript": "COM¹",
        "device_space": "nul .txt",
        "component_of_256_bytes": "x" * 256,
        "component_of_256_bytes_in_utf8": "é" * 128,
        "path_of_1025_bytes": "/".join(["x" * 204] * 4 + ["y" * 205]),
        "path_of_1026_bytes_in_utf8": "/".join(["é" * 102] * 4 + ["é" * 103]),
        "components_65": "/".join(["a"] * 65),
    }.items()


SETS = {
    "none": [],
    "several": ["a", "b", "c/d", "c/e", "c/f/g"],
    "same_name_in_other_directories": ["a/x", "b/X"],
    "twice": ["a", "b", "a"],
    "case_colliding_files": ["README.md", "readme.md"],
    "case_colliding_directories": ["Dir/a", "dir/b"],
    "case_colliding_deep": ["x/y/Z/a", "x/y/z/b"],
    "case_colliding_file_and_directory": ["A", "a/b"],
    "sharp_s": ["straße", "STRASSE"],
    "kelvin_sign_is_not_nfc": ["k", "\u212a"],
    "long_s": ["s", "\u017f"],
    "ligature": ["ﬁle", "file"],
    "iota_subscript": ["\u1fb3", "\u03b1\u03b9"],
    "greek_final_sigma": ["ΟΔΟΣ", "οδος"],
    "prefix": ["a", "a/b"],
    "prefix_after": ["a/b/c", "a/b"],
    "no_prefix": ["a/b", "a/bc", "ab"],
    "one_bad": ["a", "../b"],
}


def render():
    """Paths and sets, each with whether it is accepted."""
    paths = [{"name": f"valid_{n}", "path": p, "ok": reference_accepts(p)} for n, p in enumerate(valid())]
    paths += [{"name": name, "path": path, "ok": reference_accepts(path)} for name, path in refused()]
    sets = [
        {"name": name, "paths": paths, "ok": reference_accepts_set(paths)} for name, paths in SETS.items()
    ]
    lines = [",\n".join(json.dumps(entry) for entry in entries) for entries in (paths, sets)]
    return f'{{"paths": [\n{lines[0]}\n], "sets": [\n{lines[1]}\n]}}\n'


if __name__ == "__main__":
    VECTORS.parent.mkdir(parents=True, exist_ok=True)
    VECTORS.write_text(render())
