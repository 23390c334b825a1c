"""A small reader of the DOT language: enough to see that what we write is well formed, and what it says."""

from __future__ import annotations

import re

_TOKEN = re.compile(r'\s+|"(?:[^"\\]|\\.)*"|->|[\[\]{};,=]|[\w.#]+', re.S)


def tokens(text: str) -> list[str]:
    out = []
    at = 0
    while at < len(text):
        if text[at] == "<":  # an HTML-like label: brackets must balance
            depth, end = 1, at + 1
            while depth:
                depth += {"<": 1, ">": -1}.get(text[end], 0)
                end += 1
            out.append(text[at:end])
            at = end
            continue
        m = _TOKEN.match(text, at)
        assert m, f"not DOT at {at}: {text[at : at + 40]!r}"
        at = m.end()
        if m[0].strip():
            out.append(m[0])
    return out


def read(text: str) -> tuple[dict[str, dict[str, str]], list[tuple[str, str, dict[str, str]]], dict[str, str | None]]:
    """(nodes with attributes, edges with attributes, the cluster that each node is in)."""
    words = tokens(text)
    assert words[:2] == ["digraph", "{"]
    nodes: dict[str, dict[str, str]] = {}
    edges: list[tuple[str, str, dict[str, str]]] = []
    inside: dict[str, str | None] = {}
    clusters: list[str | None] = [None]
    at = 2
    while at < len(words):
        word = words[at]
        if word == "}":
            clusters.pop()
            at += 1
        elif word == "subgraph":
            assert words[at + 2] == "{"
            clusters.append(words[at + 1])
            at += 3
        elif word in (";", ","):
            at += 1
        elif words[at + 1] == "=":
            at += 3
        elif words[at + 1] == "->":
            attributes, end = _attributes(words, at + 3)
            edges.append((word, words[at + 2], attributes))
            at = end
        else:
            attributes, end = _attributes(words, at + 1)
            if word not in ("graph", "node", "edge"):
                assert word not in nodes, f"{word} is there twice"
                nodes[word] = attributes
                inside[word] = clusters[-1]
            at = end
    assert not clusters
    assert {a for a, _, _ in edges} | {b for _, b, _ in edges} <= set(nodes)
    return nodes, edges, inside


def _attributes(words: list[str], at: int) -> tuple[dict[str, str], int]:
    out: dict[str, str] = {}
    if at >= len(words) or words[at] != "[":
        return out, at
    at += 1
    while words[at] != "]":
        if words[at] == ",":
            at += 1
            continue
        assert words[at + 1] == "="
        out[words[at]] = _plain(words[at + 2])
        at += 3
    return out, at + 1


def _plain(word: str) -> str:
    if word.startswith('"'):
        word = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], word[1:-1])
    elif word.startswith("<"):
        word = re.sub("<BR/>|</TR>", "\n", word[1:-1])
        word = re.sub("<[^>]*>", "", word)
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        word = word.replace(entity, sign)
    return word
