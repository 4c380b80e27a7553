"""The process settings that user code may change. To add one, add a line to SETTINGS, or to TORCH."""

import decimal
import faulthandler
import gc
import locale
import logging
import multiprocessing
import os
import re
import signal
import socket
import sys
import time
import warnings
from _signal import getsignal  # type: ignore[import-not-found]  # signal.getsignal takes 30 times as long
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from operator import attrgetter, setitem
from typing import Any

import numpy as np

from rapidfire_cli.engine.local.heartbeat import DUMP
from rapidfire_cli.training.torch_settings import TORCH, Kept, Setting, switch

STDERR = 2
FATAL = frozenset({signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})
SIGNALS = [
    int(number)
    for number in signal.Signals
    if number not in FATAL | {signal.SIGKILL, signal.SIGSTOP} and number < signal.SIGRTMIN
]
UNTOUCHED: tuple[Any, ...] = (logging.NOTSET, True, False, [], [])  # the state of a new logger


def _attribute(place: Any, name: str, kept: Kept = "never") -> Setting:
    """Create a setting for an attribute of a module."""
    return Setting(
        f"{place.__name__}.{name}", lambda: getattr(place, name), partial(setattr, place, name), kept
    )


def _decimal() -> tuple[Any, ...]:
    """The context of decimal arithmetic, without its signal flags."""
    its = decimal.getcontext()
    traps = tuple(kind.__name__ for kind, trapped in its.traps.items() if trapped)
    return its.prec, its.rounding, its.Emin, its.Emax, its.capitals, its.clamp, traps


def _put_decimal(value: tuple[Any, ...]) -> None:
    *sizes, traps = value
    context = decimal.Context(*sizes)
    context.clear_traps()
    for name in traps:
        context.traps[getattr(decimal, name)] = True
    decimal.setcontext(context)


def _put_environment(value: Mapping[bytes, bytes | None]) -> None:
    for key, text in value.items():
        if text is None:
            os.environb.pop(key, None)
        else:
            os.environb[key] = text
    if b"TZ" in value:
        time.tzset()


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - one call
    except OSError:  # it was deleted
        return None


def _put_directory(value: str | None) -> None:
    """Change the working directory; ignore one that was deleted, since the worker's paths are absolute."""
    with suppress(FileNotFoundError):
        os.chdir(value or "/")


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now


def _put_filters(value: list[Any]) -> None:
    warnings.filters[:] = value  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _pack_filters(value: Iterable[Any]) -> list[Any]:
    return [
        (
            action,
            _pack_pattern(message),
            f"{category.__module__}:{category.__qualname__}",
            _pack_pattern(of),
            line,
        )
        for action, message, category, of, line in value
    ]


def _unpack_filters(value: Iterable[Any]) -> list[Any]:
    return [
        (action, _unpack_pattern(message), _imported(category), _unpack_pattern(of), line)
        for action, message, category, of, line in value
    ]


def _pack_pattern(value: Any) -> Any:
    return [value.pattern, value.flags] if isinstance(value, re.Pattern) else value


def _unpack_pattern(value: Any) -> Any:
    return re.compile(*value) if isinstance(value, list) else value


def _imported(dotted: str) -> Any:
    place, _, name = dotted.partition(":")
    return attrgetter(name)(import_module(place))


def _signals() -> dict[int, Any]:
    return {number: getsignal(number) for number in SIGNALS}


def _put_signals(value: Mapping[int, Any]) -> None:
    for number, handler in value.items():
        if handler is not None:
            signal.signal(number, handler)
        if number == DUMP and handler == signal.SIG_DFL:  # Python reports faulthandler's handler like this
            faulthandler.unregister(DUMP)
            faulthandler.register(DUMP, STDERR)


def _loggers() -> dict[str, Any]:
    """The state of each logger that was changed since its creation; the root's name is empty."""
    named = [("", logging.root), *logging.root.manager.loggerDict.items()]
    loggers = ((name, logger) for name, logger in named if isinstance(logger, logging.Logger))
    states = ((name, _copied(_state(logger))) for name, logger in loggers)
    return {name: state for name, state in states if state != UNTOUCHED}


def _glance_at_loggers() -> list[Any]:
    """Every logger's state, in a form that is quick to read: more than a hundred are compared per turn."""
    loggers: Any = logging.root.manager.loggerDict.values()
    states = [
        (
            one.level,
            one.propagate,
            one.disabled,
            (*one.handlers,) if one.handlers else (),
            (*one.filters,) if one.filters else (),
        )
        for one in loggers
        if one.__class__ is not logging.PlaceHolder
    ]
    root = logging.root
    return [*states, (root.level, root.disabled, *root.handlers, *root.filters)]


def _state(of: logging.Logger) -> tuple[Any, ...]:
    return of.level, of.propagate, of.disabled, of.handlers, of.filters


def _copied(state: tuple[Any, ...]) -> tuple[Any, ...]:
    *flags, handlers, filters = state
    return *flags, [*handlers], [*filters]


def _put_loggers(value: Mapping[str, Any]) -> None:
    for name, state in value.items():
        logger = logging.getLogger(name or None)
        level, logger.propagate, logger.disabled, handlers, filters = state or UNTOUCHED
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.filters[:] = filters


def _put_stream(name: str, value: Any) -> None:
    """Replace a standard stream; flush the old one first, so that its output goes to its run's log."""
    with suppress(Exception):  # it may be an object of user code
        getattr(sys, name).flush()
    setattr(sys, name, value)


def _start_method() -> str | None:
    return multiprocessing.get_start_method(allow_none=True)


SETTINGS: tuple[Setting, ...] = (
    *TORCH,
    Setting("numpy's errors", np.geterr, lambda value: np.seterr(**value)),
    Setting("numpy's buffers", np.getbufsize, np.setbufsize),
    Setting("numpy's printing", np.get_printoptions, lambda value: np.set_printoptions(**value), "never"),
    Setting("decimal arithmetic", _decimal, _put_decimal),
    Setting("locale", lambda: locale.setlocale(locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    Setting(
        "warnings", lambda: warnings.filters[:], _put_filters, pack=_pack_filters, unpack=_unpack_filters
    ),
    _attribute(warnings, "showwarning"),
    Setting("loggers", _loggers, _put_loggers, "never", glance=_glance_at_loggers),
    Setting("logging", lambda: logging.root.manager.disable, logging.disable, "never"),
    Setting("sys.stdout", lambda: sys.stdout, partial(_put_stream, "stdout"), "never"),
    Setting("sys.stderr", lambda: sys.stderr, partial(_put_stream, "stderr"), "never"),
    _attribute(sys, "excepthook"),
    Setting("environment", os.environ._data.copy, _put_environment),  # type: ignore[attr-defined]
    Setting("working directory", _directory, _put_directory),
    Setting("umask", _umask, os.umask),
    Setting("sys.path", lambda: sys.path[:], partial(setitem, sys.path, slice(None))),
    Setting("sys.argv", lambda: sys.argv[:], partial(setitem, sys.argv, slice(None))),
    Setting("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Setting("garbage collection", gc.isenabled, lambda value: gc.enable() if value else gc.disable()),
    switch("garbage collection's thresholds", gc.get_threshold, gc.set_threshold),
    Setting("signal handlers", _signals, _put_signals, "never"),
    switch(
        "alarm",
        lambda: signal.getitimer(signal.ITIMER_REAL),
        partial(signal.setitimer, signal.ITIMER_REAL),
        "never",
    ),
    Setting("start method", _start_method, partial(multiprocessing.set_start_method, force=True)),
    Setting("socket timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
)
