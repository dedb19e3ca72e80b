"""`python -m tui` is the `dirscope` command."""

from tui.cli import entry

if __name__ == "__main__":
    entry()
