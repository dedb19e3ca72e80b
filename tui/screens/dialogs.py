"""Small modal screens: choosing from a list, typing two prompts, reading help, a feature or what the model writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from engine.errors import DirscopeError
from engine.printable import printable
from engine.protocol import Answer
from engine.questions.writing import Continuations

BACK: list[BindingType] = [Binding("escape", "dismiss(None)", "back")]


class Choose(ModalScreen[str | None]):
    """Pick one of some options; gives its id, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *BACK,
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(
        self, title: str, options: Sequence[tuple[str, str | Text]], current: str | None = None, wide: bool = False
    ) -> None:
        super().__init__()
        self._title = title
        self._options = options
        self._current = current
        self._wide = wide

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog reading" if self._wide else "dialog"):
            yield Label(self._title, classes="dialog-title")
            # Labels hold prompts and paths: brackets in them are no markup.
            yield OptionList(*[Option(label, id=key) for key, label in self._options], markup=False)
            yield Label("enter choose   esc back", classes="dialog-hint")

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        keys = [key for key, _ in self._options]
        options.highlighted = keys.index(self._current) if self._current in keys else 0
        options.focus()

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


class AskLine(ModalScreen[str | None]):
    """One line of text."""

    BINDINGS: ClassVar[list[BindingType]] = BACK

    def __init__(self, title: str, start: str = "", note: str = "") -> None:
        super().__init__()
        self._title = title
        self._start = start
        self._note = note

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="dialog-title")
            yield Input(self._start, id="line")
            if self._note:
                yield Static(self._note, classes="dialog-hint", markup=False)
            yield Label("enter done   esc back", classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)


class TwoPrompts(ModalScreen[tuple[str, str] | None]):
    """The two prompts of a steering direction."""

    BINDINGS: ClassVar[list[BindingType]] = BACK

    def __init__(self, plus: str = "", minus: str = "") -> None:
        super().__init__()
        self._start = (plus, minus)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label("steering: last token of plus, minus last token of minus", classes="dialog-title")
            yield Input(self._start[0], placeholder="plus, such as: She was very happy", id="plus")
            yield Input(self._start[1], placeholder="minus, such as: She was very sad", id="minus")
            yield Label("tab next   enter done   esc back", classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one("#plus", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        plus, minus = self.query_one("#plus", Input), self.query_one("#minus", Input)
        if not plus.value or not minus.value:
            (minus if plus.value else plus).focus()
        elif plus.value == minus.value:
            self.notify("The two prompts are the same, so their difference is nothing: change one.", severity="error")
        else:
            self.dismiss((plus.value, minus.value))


class EditText(ModalScreen[str | None]):
    """A few lines to edit; refused text stays, with the reason below it."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK, Binding("ctrl+s", "done", "done", priority=True)]

    def __init__(
        self, title: str, text: str, check: Callable[[str], object], note: str = "", tall: bool = False
    ) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._check = check
        self._note = note
        self._tall = tall

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog tall" if self._tall else "dialog"):
            yield Label(self._title, classes="dialog-title")
            yield TextArea(self._text, id="text", tab_behavior="focus")
            yield Static(self._note, id="refusal", markup=False)
            yield Label("ctrl+s done   esc back", classes="dialog-hint")

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        if not self._tall:
            area.move_cursor(area.document.end)

    def action_done(self) -> None:
        text = self.query_one(TextArea).text
        try:
            self._check(text)
        except DirscopeError as error:
            refusal = self.query_one("#refusal", Static)
            refusal.update(str(error))
            refusal.add_class("error")
        else:
            self.dismiss(text)


class Help(ModalScreen[None]):
    """Markdown to read."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK, Binding("question_mark,f1,q", "dismiss(None)", show=False)]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        from textual.widgets import Markdown  # takes long to import, and the first frame needs none

        with VerticalScroll(classes="dialog wide"):
            yield Markdown(self._text)
            yield Label("esc back", classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


class Reading(ModalScreen[None]):
    """Text to read, that may hold anything: brackets in it are no markup. Waits for an answer where one is asked."""

    BINDINGS: ClassVar[list[BindingType]] = [*BACK, Binding("q", "dismiss(None)", show=False)]
    WAITING = ""

    def __init__(self) -> None:
        super().__init__()
        self._answer: Answer | None = None

    def head(self) -> Text:
        """What stands above, from the start."""
        return Text()

    def body(self, found: Any) -> Text:
        """What is said of what was found."""
        return Text()

    def text(self) -> Text:
        """What there is to read."""
        if self._answer is None:
            return self.head().append(self.WAITING, style="not bold dim")
        if self._answer.problem:
            return self.head().append(self._answer.problem, style="not bold")
        return self.head().append_text(self.body(self._answer.found))

    def fill(self, answer: Answer) -> None:
        """Show what came; it may come before the dialog is on the screen or after it has left."""
        self._answer = answer
        for widget in self.query("#reading").results(Static):
            widget.update(self.text())

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog reading"):
            yield Static(self.text(), id="reading")
            yield Label("esc back", classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


class Writings(Reading):
    """What the model goes on to write, with a direction added and without; filled when it comes."""

    WAITING = "writing ..."

    def __init__(self, prompt: str, what: str) -> None:
        super().__init__()
        self._prompt = prompt
        self._what = what

    def head(self) -> Text:
        text = Text("what the model goes on to write\n", style="bold")
        text.append(f"{printable(self._prompt)} ...\n\n", style="not bold dim")
        return text

    def body(self, found: Continuations) -> Text:
        text = Text("with ", style="dim")
        text.append(printable(self._what), style="not dim")
        text.append(
            f", added at this token and every later one ({found.added_norm:.3g}, {found.share_of_norm:.0%} of the "
            "norm); each pair drew the same random numbers\n",
        )
        for plain, steered in found.pairs:
            text.append("\nas is     ")
            text.append(f"{printable(plain)}\n", style="not dim")
            text.append("with it   ", style="not dim bold")
            text.append(f"{printable(steered)}\n", style="not dim")
        return text
