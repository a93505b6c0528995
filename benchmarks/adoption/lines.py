"""How many lines a team writes: what is neither blank, nor a comment, nor a docstring."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

EXISTING: Final = "benchmarks.adoption.settings"
"""What is imported from here, a team has in its file already."""
_NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def count(file: Path) -> int:
    """Return the lines of a file, Python's or GraphQL's."""
    return (_python if file.suffix == ".py" else _graphql)(file.read_text())


def _python(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    written = {
        line
        for token in tokens
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(written.difference(_not_counted(ast.parse(text))))


def _not_counted(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        is_docstring = (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        )
        is_existing = isinstance(node, ast.ImportFrom) and node.module == EXISTING
        if isinstance(node, ast.stmt) and (is_docstring or is_existing):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _graphql(text: str) -> int:
    # A description, as a docstring, is one line here.
    return sum(bool(line.strip()) and line.strip()[0] not in '#"' for line in text.splitlines())
