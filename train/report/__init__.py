"""The evaluation report: where a checkpoint fails, as Markdown, as one page and as tables. `command` is its command."""
