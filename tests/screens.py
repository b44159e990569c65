"""An emulated terminal that treats long lines as most real ones do when it becomes narrower."""

import pyte


class WrappingScreen(pyte.HistoryScreen):
    """Wraps lines that no longer fit, where pyte itself cuts them. The cursor has to be at the end of the last line."""

    unwrapped = None
    """The lines before they were wrapped, as long as nothing else was written."""

    def resize(self, lines=None, columns=None):
        old = self.unwrapped or [
            "".join(self.buffer[row][column].data for column in range(self.columns)).rstrip()
            for row in range(self.cursor.y + 1)
        ]
        is_narrower = columns is not None and columns < self.columns
        super().resize(lines, columns)
        if not is_narrower:
            return
        self.erase_in_display(2)
        self.cursor_position()
        wrapped = [text[start : start + columns] for text in old for start in range(0, max(1, len(text)), columns)]
        for number, text in enumerate(wrapped):
            if number:
                self.carriage_return()
                self.index()
            super().draw(text)
        self.unwrapped = old

    def draw(self, data):
        self.unwrapped = None
        super().draw(data)
