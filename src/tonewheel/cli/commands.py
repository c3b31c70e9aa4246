"""Commands whose errors name the option that was typed, not the field of a request that it fills.

An option knows its field: the parameter of the command's function has the field's name (`duration_s` is `--duration`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from tonewheel.errors import InvalidPlan, TonewheelError

if TYPE_CHECKING:
    from collections.abc import Callable

ANY_FIELD = "any_field"  # the parameter that takes any other field by its name: `--set NAME=VALUE`


class Commands(typer.Typer):
    """A Typer of such commands."""

    def command(self, name: str | None = None, **more: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=_Command, **more)


class _Command(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TonewheelError as error:
            option = self._option(error)
            if option is not None:
                error.args = (_said_of(option, error), *error.args[1:])
            raise

    def _option(self, error: TonewheelError) -> str | None:
        """What was typed for the field that the error is about; None for an argument, or what came from elsewhere."""
        if not error.param or isinstance(error, InvalidPlan):  # the fields of a plan are those of its file
            return None
        field = _field(error)
        typed = {str(p.name): max(p.opts, key=len) for p in self.params if p.param_type_name == "option"}
        if field in typed:
            return typed[field]
        is_argument = any(p.name == field for p in self.params)
        return f"{typed[ANY_FIELD]} {field}" if ANY_FIELD in typed and not is_argument else None


def _field(error: TonewheelError) -> str:
    return re.split(r"[.\[]", error.param or "")[0]


def _said_of(option: str, error: TonewheelError) -> str:
    """The message with the option for the field: at its head (`duration_s: must be …`), and anywhere where the name is
    no English word."""
    text = re.sub(rf"^{re.escape(error.param or '')}(?=: )", option, error.message)
    field = re.escape(_field(error))
    return re.sub(rf"(?<![\w-]){field}(?!\w)", option, text) if "_" in field and " " not in option else text
