"""YAML to nodes, on libyaml's event stream: PyYAML's own composer is recursive and crashes on 100,000 `[`."""

from typing import Any, Never

import yaml

from rapidfire_cli.problems import Problem, Refusal, Span, shortened
from rapidfire_cli.syntax import compose
from rapidfire_cli.syntax.compose import MAX_DEPTH, MAX_NODES, Frame, Merge, Part
from rapidfire_cli.syntax.nodes import Document, Mapping, Node, Scalar, Sequence, kind
from rapidfire_cli.syntax.scalars import CASTS, CORE, cast, resolve
from rapidfire_cli.syntax.yaml_errors import explain
from rapidfire_cli.terms import Value

_VALUE_SETS = ("!list", "!zip", "!range")
_COLLECTIONS = {f"{CORE}seq": Sequence, f"{CORE}map": Mapping}


def read_yaml(text: str, file: str, most: int = MAX_NODES) -> Document:
    """The one document in `text`, of at most so many nodes. Raises Refusal where reading cannot go on."""
    composer = _Composer(file, most)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        composer.refuse(explain(error, text, file))
    if composer.root is None:
        composer.refuse(compose.nothing(Span(file, 1, 1)))
    return Document(composer.root, tuple(composer.problems))


class _Composer:
    """Events in, one root node out; iterative, so that hostile depth costs a refusal and not the process."""

    def __init__(self, file: str, most: int) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._file = file
        self._frames: list[Frame] = []
        self._anchors: dict[str, Part] = {}
        self._size = 0
        self._most = most

    def take(self, event: yaml.Event) -> None:
        """Compose the next event. Raises Refusal beyond a limit."""
        match event:
            case yaml.ScalarEvent():
                self._count(event, 1)
                self._add(Part(self._scalar(event)), event.anchor)
            case yaml.CollectionStartEvent():
                self._open(event)
            case yaml.CollectionEndEvent():
                self._close(event)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.DocumentStartEvent() if self.root is not None:
                expected = "one document per file"
                self.refuse(Problem("E113", "more than one document", self._span(event), expected=expected))

    def refuse(self, last: Problem) -> Never:
        """Stop reading: raise all problems found so far and this last one."""
        raise Refusal([*self.problems, last])

    def _open(self, event: Any) -> None:
        self._count(event, 1, 1)
        mapping = isinstance(event, yaml.MappingStartEvent)
        self._frames.append(Frame(mapping, self._span(event), event.tag, event.anchor))

    def _close(self, event: Any) -> None:
        frame = self._frames.pop()
        node: Node
        if frame.mapping:
            node = compose.mapping(frame.parts, _stretched(frame, event.end_mark), self.problems)
        else:
            node = Sequence(tuple(frame.parts), _stretched(frame, event.end_mark))
        self._add(Part(self._tagged(frame.tag, node), frame.size, frame.height), frame.anchor)

    def _alias(self, event: Any) -> None:
        part = self._anchors.get(event.anchor)
        if part is None:
            name = shortened(event.anchor)
            hint = f"define it with `&{name}` on a value that ends before this alias"
            self.refuse(Problem("E111", f"unknown anchor `{name}`", self._span(event), hint=hint))
        self._count(event, part.size, part.height)
        self._add(part, None)

    def _count(self, event: yaml.Event, size: int, height: int = 0) -> None:
        self._size += size
        if self._size > self._most:
            self.refuse(compose.too_many(self._span(event), self._most))
        if len(self._frames) + height > MAX_DEPTH:
            self.refuse(compose.too_deep(self._span(event)))

    def _add(self, part: Part, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = part
        if self._frames:
            self._frames[-1].add(part)
        elif not isinstance(part.node, Merge):
            self.root = part.node

    def _scalar(self, event: Any) -> Scalar | Merge:
        span = self._span(event)
        if event.value == "<<" and not event.style and self._frames and self._frames[-1].expects_key:
            return Merge(span)
        return compose.scalar(self._value(event, span), span, self.problems)

    def _value(self, event: Any, span: Span) -> Value:
        text: str = event.value
        tag: str | None = event.tag
        try:
            if tag is None:
                return text if event.style else resolve(text)
            if tag in CASTS:
                return cast(tag, text)
        except OverflowError:
            self.problems.append(compose.too_big(text, span))
        except ValueError:
            message = f"invalid value for `{_written(tag)}`"
            self.problems.append(Problem("E108", message, span, shortened(text)))
        else:
            self._tagged(tag, Scalar(text, span))
        return text

    def _tagged(self, tag: str | None, node: Node) -> Node:
        if tag is None or tag == "!":
            return node
        if tag in _VALUE_SETS:
            return compose.tagged(tag, node, node.span, self.problems)
        if tag in _COLLECTIONS and not isinstance(node, _COLLECTIONS[tag]):
            self.problems.append(
                Problem("E108", f"invalid value for `{_written(tag)}`", node.span, kind(node))
            )
        elif tag not in _COLLECTIONS:
            self.problems.append(compose.unknown_tag(_written(tag), node.span))
        return node

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Span(self._file, start.line + 1, start.column + 1, max(1, width))


def _written(tag: str | None) -> str:
    return (tag or "").replace(CORE, "!!")


def _stretched(frame: Frame, end: Any) -> Span:
    """The span of a collection: all of it on one line, else its opening bracket or first key."""
    span = frame.span
    width = span.width
    if end.line + 1 == span.line:
        width = end.column + 1 - span.column
    elif frame.parts and frame.parts[0].span.line == span.line and frame.parts[0].span.column == span.column:
        width = frame.parts[0].span.width
    return Span(span.file, span.line, span.column, width)
